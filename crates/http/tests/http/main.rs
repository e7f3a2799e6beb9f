//! The server and its clients, over real connections.

mod access;
mod hostile;
mod perform;
mod read;
mod subscribe;
mod world;
