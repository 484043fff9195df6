//! sled as the storage of a replica or of a server.

#![forbid(unsafe_code)]
