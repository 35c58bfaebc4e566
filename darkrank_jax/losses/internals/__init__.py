"""What losses share and no user imports: checks of arguments, sorting, tiles, meshes."""
