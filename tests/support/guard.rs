//! guard itself, run and watched.
