"""Networks in other formats, each compared with the original."""
