//! Where image uses come from: the cluster, or manifest files.
