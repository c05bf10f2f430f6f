//! (made by the first change)
