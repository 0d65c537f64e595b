"""keras_nas beside other packages that prune: the same nets, in processes apart."""
