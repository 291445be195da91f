"""What works before Detectron2 is there: the start of the command, and the installer."""
