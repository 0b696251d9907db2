//! watchpost against the real world: every test here talks to a real server or the real binary.

#![expect(clippy::print_stderr, reason = "a test that cannot run says why")]

mod serial;
mod support;
