//! Two network namespaces joined by one virtual cable that can be pulled. Nothing of the machine's own network is touched.
//!
//! The node lives in one, its clients in the other. The node serves its own loopback only, so a relay in its namespace carries between the
//! cable and it, as a proxy before a node would.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::node::mortal;
use super::proxy::Proxy;
use crate::exec::{self, output};

/// For measurements between networks (RFC 2544); nobody routes it.
const NODE_ADDRESS: &str = "198.18.0.1";
const CLIENT_ADDRESS: &str = "198.18.0.2";
/// The end of the cable, in each namespace.
const CABLE: &str = "cable";

/// The two namespaces; removed when dropped.
pub(super) struct Network {
    node: String,
    client: String,
}

impl Network {
    /// Makes both and plugs the cable in; says why not where that is not allowed.
    pub(super) fn make() -> Result<Self, String> {
        if !exec::has("ip") {
            return Err("there is no `ip` (package iproute2)".to_owned());
        }
        let pid = std::process::id();
        let network = Self { node: format!("csf-node-{pid}"), client: format!("csf-client-{pid}") };
        // What was made until a failure goes with `network`.
        ip(&["netns", "add", &network.node])?;
        ip(&["netns", "add", &network.client])?;
        let (node, client) = (network.node.as_str(), network.client.as_str());
        ip(&["-n", node, "link", "add", CABLE, "type", "veth", "peer", "name", CABLE, "netns", client])?;
        for (name, address) in [(node, NODE_ADDRESS), (client, CLIENT_ADDRESS)] {
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            ip(&["-n", name, "addr", "add", &format!("{address}/30"), "dev", CABLE])?;
            ip(&["-n", name, "link", "set", CABLE, "up"])?;
        }
        Ok(network)
    }

    /// Words that run a program in the node's namespace.
    pub(super) fn in_node(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.node]
    }

    /// Plugs the cable in or pulls it: packets vanish, and nobody is told.
    pub(super) fn plug(&self, is_in: bool) -> Result<(), String> {
        ip(&["-n", &self.node, "link", "set", CABLE, if is_in { "up" } else { "down" }])
    }

    /// Moves threads into the clients' namespace, each when it calls this.
    pub(super) fn enter_client(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        let file = PathBuf::from("/run/netns").join(&self.client);
        move || {
            let namespace = File::open(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|e| format!("{}: {e}", file.display()))
        }
    }

    /// Starts a relay from the cable to the node.
    pub(super) fn relay(&self, node: SocketAddr) -> Result<Relay, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = mortal(&self.in_node(), &program);
        command.args(["chaos", "--relay", &format!("{NODE_ADDRESS}:0"), &node.to_string()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
        let lines = child.stdout.take();
        // From here on its end is the relay's.
        let mut relay = Relay { child, address: node };
        let mut line = String::new();
        BufReader::new(lines.ok_or("no output of the relay")?).read_line(&mut line).map_err(|e| e.to_string())?;
        relay.address = line.trim().parse().map_err(|e| format!("the relay said `{line}`: {e}"))?;
        Ok(relay)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in [&self.node, &self.client] {
            // Not there when its making failed.
            let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
        }
    }
}

/// A relay process; ends when dropped.
pub(super) struct Relay {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The relay's process: `--relay LISTEN NODE`.
pub(super) fn serve(listen: &str, node: &str) -> Result<(), String> {
    let node = node.parse().map_err(|e| format!("{node}: {e}"))?;
    let proxy = Proxy::start(listen, node, 0).map_err(|e| format!("{listen}: {e}"))?;
    println!("{}", proxy.address());
    proxy.serve();
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("ip");
    output(command.args(arguments).stdin(Stdio::null())).map(|_| ())
}
