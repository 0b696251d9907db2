//! watchpost against the real world: every test here talks to a real server or the real binary.
