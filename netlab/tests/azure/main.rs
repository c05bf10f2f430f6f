//! The fake of Azure, judged by what Microsoft wrote: its libraries for Python and its descriptions of the API.

mod client;
mod described;
mod manners;
mod sdk;
