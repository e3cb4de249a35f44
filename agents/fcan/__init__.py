"""FCAN (Liu, Xia, Wang & Lin 2016, arXiv 1603.06765): parts of an image located on its feature map, in three stages."""
