"""Data sets without a name of their own: what their images are, lists of files, torchvision's, items."""
