//! How safe an acknowledged message is, as far as anybody can know from here.

use async_nats::jetstream::stream::{Config, StorageType};
use csf_core::port::Durability;

/// The first version whose `sync_interval` can be `always`.
const SYNCS_FROM: (u32, u32) = (2, 10);
/// Replicas from which a majority is more than one machine.
const QUORUM_REPLICAS: usize = 3;

/// What the operator says about `sync_interval` in the configuration of every server of the stream. A client cannot ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerSync {
    /// The servers sync from time to time; two minutes unless configured otherwise. What they acknowledged since then is with their
    /// operating systems, on however many machines: a power failure that reaches them all takes it.
    #[default]
    Interval,
    /// The servers are configured with `sync_interval: always`: they sync before they acknowledge. Servers before 2.10 cannot.
    Always,
}

/// What an acknowledgement of this stream means.
///
/// [`Durability::Quorum`] only where a majority of three or more has synced its files before the acknowledgement; more replicas that have
/// not are still [`Durability::Os`], since the machines of one room lose power together.
/// Reference: Kingsbury, "Jepsen: NATS 2.12.1" (2025), on the default sync interval.
pub(super) fn durability(sync: ServerSync, version: &str, stream: &Config) -> Durability {
    if stream.storage == StorageType::Memory {
        return Durability::Memory;
    }
    match sync {
        ServerSync::Interval => Durability::Os,
        ServerSync::Always if !can_sync(version) => Durability::Os,
        ServerSync::Always if stream.num_replicas >= QUORUM_REPLICAS => Durability::Quorum,
        ServerSync::Always if stream.num_replicas <= 1 => Durability::Disk,
        // A majority of two is both, but the configuration is one nobody should have: the least is promised.
        ServerSync::Always => Durability::Disk,
    }
}

/// Whether a server of this version can sync before it acknowledges.
pub(super) fn can_sync(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|part| part.parse().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) >= SYNCS_FROM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sync: ServerSync, version: &str, num_replicas: usize) -> Durability {
        durability(sync, version, &Config { num_replicas, storage: StorageType::File, ..Config::default() })
    }

    #[test]
    fn no_more_is_promised_than_the_server_can_keep() {
        assert_eq!(of(ServerSync::Interval, "2.9.10", 1), Durability::Os);
        assert_eq!(
            of(ServerSync::Interval, "2.15.1", 3),
            Durability::Os,
            "replicas without a sync lose power together"
        );
        assert_eq!(of(ServerSync::Always, "2.9.10", 3), Durability::Os, "2.9 does not know the setting");
        assert_eq!(of(ServerSync::Always, "2.10.0", 1), Durability::Disk);
        assert_eq!(of(ServerSync::Always, "2.15.1-RC.1", 3), Durability::Quorum);
        assert_eq!(of(ServerSync::Always, "3.0.0", 5), Durability::Quorum);
        assert_eq!(of(ServerSync::Always, "nonsense", 5), Durability::Os);
        let memory = Config { storage: StorageType::Memory, num_replicas: 3, ..Config::default() };
        assert_eq!(durability(ServerSync::Always, "2.15.1", &memory), Durability::Memory);
    }
}
