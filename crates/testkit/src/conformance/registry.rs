//! The OCI distribution-spec conformance suite, over plain HTTP.
