"""An avatar posed by a motion, frame by frame: to files, or on a page in the browser."""
