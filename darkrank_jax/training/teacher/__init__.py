"""What a student is trained towards: outputs of a teacher, stored or computed in each step."""
