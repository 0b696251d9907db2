//! watchpost against the real world: every test here talks to a real server or the real binary.

#![expect(clippy::print_stderr, reason = "a test that cannot run says why")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod actions;
mod backtest;
mod config;
mod daemon;
mod influxdb;
mod mqtt;
mod net;
mod packaging;
mod promql;
mod promtool;
mod remote_write;
mod serial;
mod snmp;
mod support;
mod systemd;
