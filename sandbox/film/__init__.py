"""Arrays to pictures: latent paths, GIF and MP4, labelled grids."""
