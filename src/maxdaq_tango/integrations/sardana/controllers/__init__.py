"""For `pool_path` of Sardana's Pool: it loads the modules of this folder by itself."""
