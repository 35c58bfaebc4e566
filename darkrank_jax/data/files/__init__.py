"""How images are found and read: folders, archives, tables, their classes and splits."""
