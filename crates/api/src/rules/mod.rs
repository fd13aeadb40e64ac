//! What Kubernetes writes by hand for each kind: defaults, validation, update strategy, columns. One small file per kind.
