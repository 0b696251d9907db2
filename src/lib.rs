//! watchpost: targets are polled into samples; rules turn samples into alerts; sinks keep samples;
//! actions answer alerts.
//!
//! Read [`sample`] first: it has the words. Then [`pollers`], which make samples, [`supervisor`],
//! which runs them, [`rules`], which judge, [`journal`], which keeps, [`sinks`] and [`actions`], and
//! last [`app`], which puts them together. [`mod@config`] is how all of it is told what to do; [`wire`] turns bytes into values.

pub mod actions;
pub mod api;
pub mod app;
pub mod backoff;
pub mod backtest;
pub mod cli;
pub mod config;
pub mod events;
pub mod history;
pub mod http_client;
pub mod ingest;
pub mod journal;
pub mod metrics;
pub mod notify;
pub mod pipeline;
pub mod pollers;
pub mod process;
pub mod promql;
pub mod rules;
pub mod sample;
pub mod sinks;
pub mod state;
pub mod store;
pub mod supervisor;
pub mod template;
pub mod tls;
pub mod wire;
