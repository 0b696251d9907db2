//! Stub.
use std::sync::Arc;
use crate::config;
use crate::config::Target;
use crate::pollers::{Kind, PollError, Poller, Shared};
use crate::sample::Readings;
config! {
    /// Stub.
    pub struct Config {
        /// Stub.
        pub host: Option<String>,
    }
}
impl Kind for Config {
    type Poller = Stub;
    fn poller(&self, _: &Target, _: &Arc<Shared>) -> Stub { Stub }
}
/// Stub.
pub struct Stub;
impl Poller for Stub {
    async fn poll(&mut self, _: &mut Readings) -> Result<(), PollError> { Ok(()) }
}
