"""Everything that maps an image to an image: degradations, OWAN, the baselines, training, image quality."""
