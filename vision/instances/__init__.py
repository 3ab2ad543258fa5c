"""Instance segmentation of objects that look the same: coordinates at the input, at the output, in the mask branch."""
