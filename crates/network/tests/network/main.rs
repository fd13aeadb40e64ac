//! The network against the real kernel, in namespaces of the tests' own: the machine's network is not touched.
