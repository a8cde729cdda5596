//! All ways, by what they play with.

mod commands;
mod descriptors;
mod handing;
mod life;
mod listen;
mod memory;
mod mounts;
mod moves;
mod names;
mod network;
mod opens;
mod packets;
mod programs;
mod races;
mod services;
mod sockets;
mod writes;

use crate::way::Way;

/// All of them, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Way> {
    let rooms: [&'static [Way]; 14] = [
        opens::WAYS,
        names::WAYS,
        moves::WAYS,
        mounts::WAYS,
        descriptors::WAYS,
        memory::WAYS,
        races::WAYS,
        life::WAYS,
        writes::WAYS,
        programs::WAYS,
        commands::WAYS,
        network::WAYS,
        sockets::WAYS,
        services::WAYS,
    ];
    rooms.into_iter().flatten()
}
