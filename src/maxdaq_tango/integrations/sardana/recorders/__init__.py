"""For `recorder_path` of Sardana's MacroServer: it loads the modules of this folder by itself."""
