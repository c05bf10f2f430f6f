//! Splitting and joining against plain references.
