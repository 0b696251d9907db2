//! The configuration of the first minute: this host, and what it finds around it.
//!
//! The gateway and the name servers are those the system itself uses; nothing is searched for on
//! the network.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use procfs::net::RouteEntries;
use procfs::prelude::*;

/// What every host has.
const THIS_HOST: &str = include_str!("built_in.toml");

/// How diagnostics call it.
pub(crate) const NAME: &str = "the built-in configuration";

/// Name servers that are asked; a resolver takes no more (MAXNS of resolv.h).
const NAME_SERVERS_MAX: usize = 3;

/// The flag of a route that leads to a gateway (RTF_GATEWAY of linux/route.h).
const GATEWAY: u16 = 0x2;

/// The built-in configuration for the host it runs on.
#[must_use]
pub(super) fn of_this_host() -> String {
    // A container may have neither; what is not there is not watched.
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    built_in(&read("/proc/net/route"), &read("/etc/resolv.conf"))
}

/// The built-in configuration for a host with these routes and this resolv.conf(5).
#[must_use]
pub(super) fn built_in(routes: &str, resolv_conf: &str) -> String {
    let mut toml = THIS_HOST.to_owned();
    if let Some(gateway) = default_gateway(routes) {
        write!(toml, "\n[icmp.gateway]\nhost = \"{gateway}\"\ninterval = \"2s\"\n")
            .expect("a string takes everything");
    }
    for (n, server) in (1..).zip(name_servers(resolv_conf)) {
        // The servers of the root: the one question every resolver can answer, anywhere.
        let table = format!(
            "\n[dns.name-server-{n}]\nname = \".\"\ntype = \"NS\"\nserver = \"{server}\"\n\
             interval = \"30s\"\n"
        );
        toml += &table;
    }
    toml
}

/// The gateway of the default route, of several the one with the lowest metric.
fn default_gateway(routes: &str) -> Option<Ipv4Addr> {
    let routes = RouteEntries::from_read(routes.as_bytes()).ok()?;
    let is_default = |destination: Ipv4Addr, mask: Ipv4Addr| {
        destination.is_unspecified() && mask.is_unspecified()
    };
    routes
        .0
        .into_iter()
        .filter(|route| is_default(route.destination, route.mask) && route.flags & GATEWAY != 0)
        .min_by_key(|route| route.metrics)
        .map(|route| route.gateway)
}

/// The addresses after `nameserver`, each once; those of a link (`fe80::1%eth0`) are left out.
fn name_servers(resolv_conf: &str) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for line in resolv_conf.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("nameserver")
            && let Some(server) = words.next().and_then(|word| word.parse().ok())
            && !servers.contains(&server)
            && servers.len() < NAME_SERVERS_MAX
        {
            servers.push(server);
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Loader};

    const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
";

    fn load(routes: &str, resolv_conf: &str) -> Config {
        let loader = Loader { env: &|_| None };
        let text = built_in(routes, resolv_conf);
        loader.load_text(NAME.as_ref(), &text).unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    fn ids(config: &Config) -> Vec<String> {
        config.targets.iter().map(|target| target.id()).collect()
    }

    #[test]
    fn the_gateway_and_the_name_servers_of_the_host_are_watched() {
        let resolv_conf = "# by DHCP\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n\
                           nameserver fe80::1%eth0\nnameserver 192.0.2.53\nsearch example.org\n";
        let config = load(ROUTES, resolv_conf);
        let expected =
            ["dns.name-server-1", "dns.name-server-2", "host.this", "http.page", "icmp.gateway"];
        assert_eq!(ids(&config), expected);
        let toml = built_in(ROUTES, resolv_conf);
        assert!(toml.contains("host = \"192.0.2.1\""), "{toml}");
        assert!(toml.contains("server = \"2001:db8::53\""), "{toml}");
        assert!(!config.rules.is_empty());
    }

    #[test]
    fn a_host_with_neither_is_watched_itself() {
        for (routes, resolv_conf) in [("", ""), ("garbage\nmore garbage", "nameserver\nfoo\0")] {
            assert_eq!(ids(&load(routes, resolv_conf)), ["host.this", "http.page"]);
        }
    }

    #[test]
    fn this_host_has_a_configuration_that_loads() {
        let loader = Loader { env: &|_| None };
        let text = of_this_host();
        assert!(loader.load_text(NAME.as_ref(), &text).is_ok());
    }
}
