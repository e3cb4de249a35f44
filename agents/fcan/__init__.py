"""FCAN's stages (Liu et al. 2016, arXiv 1603.06765): parts of an image are located on its feature map."""
