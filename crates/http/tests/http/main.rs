//! The server and its clients, over real connections.

mod access;
mod client;
mod cluster;
mod hostile;
mod javascript;
mod openapi;
mod opening;
mod perform;
mod read;
mod schema;
mod scripted;
mod subscribe;
mod world;
