//! NUMA nodes, as [mbind(2)](https://man7.org/linux/man-pages/man2/mbind.2.html) names them.

use std::io;

use super::options::NodePolicy;

/// A memory policy of the kernel, and a bit for each node it names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) mode: libc::c_long,
    pub(super) mask: Vec<u64>,
}

// Of linux/mempolicy.h.
const MPOL_PREFERRED: libc::c_long = 1;
const MPOL_INTERLEAVE: libc::c_long = 3;

/// Nodes that a kernel may have: 2^10 in the largest configuration.
const MOST_NODES: u32 = 1024;

impl Binding {
    /// What to ask of the kernel; `None` for what it does by itself.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a node that no kernel has.
    pub(super) fn of(policy: NodePolicy) -> io::Result<Option<Self>> {
        match policy {
            NodePolicy::Local => Ok(None),
            NodePolicy::Interleave => Ok(Self::interleaved(&with_memory())),
            NodePolicy::Node(node) if node < MOST_NODES => Ok(Some(Self {
                mode: MPOL_PREFERRED,
                mask: mask_of(&[node]),
            })),
            NodePolicy::Node(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// One node is no choice, and a kernel without NUMA knows no call for it.
    fn interleaved(nodes: &[u32]) -> Option<Self> {
        (nodes.len() > 1).then(|| Self {
            mode: MPOL_INTERLEAVE,
            mask: mask_of(nodes),
        })
    }

    /// What mbind(2) is to be told of the mask's length. The kernel reads one bit less.
    pub(super) fn bits(&self) -> usize {
        self.mask.len() * u64::BITS as usize + 1
    }
}

fn mask_of(nodes: &[u32]) -> Vec<u64> {
    let words = nodes.iter().max().map_or(0, |most| most / u64::BITS + 1);
    let mut mask = vec![0; words as usize];
    for node in nodes {
        mask[(node / u64::BITS) as usize] |= 1 << (node % u64::BITS);
    }
    mask
}

/// The nodes that have memory; one where the kernel does not say.
fn with_memory() -> Vec<u32> {
    let list = std::fs::read_to_string("/sys/devices/system/node/has_memory");
    parse(list.unwrap_or_default().trim())
}

/// The numbers of a list as the kernel writes it: `0-3,8`.
fn parse(list: &str) -> Vec<u32> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|&node| node < MOST_NODES);
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(number(first)?..=number(last)?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel_are_understood() {
        assert_eq!(parse("0"), [0]);
        assert_eq!(parse("0-2,5,62-65"), [0, 1, 2, 5, 62, 63, 64, 65]);
        assert_eq!(parse(""), []);
        assert_eq!(parse("0-9999999999,7"), [7]);
    }

    #[test]
    fn nodes_from_64_on_have_a_bit_too() {
        let on = |node| Binding::of(NodePolicy::Node(node));
        let binding = on(70).unwrap().unwrap();
        assert_eq!(
            (binding.mask.as_slice(), binding.bits()),
            (&[0, 1 << 6][..], 129)
        );
        assert_eq!(on(63).unwrap().unwrap().bits(), 65, "bit 63 is read");
        assert!(on(1024).is_err());
    }

    #[test]
    fn memory_is_interleaved_over_all_nodes_but_not_over_one() {
        assert_eq!(Binding::interleaved(&[0]), None);
        let binding = Binding::interleaved(&[0, 1, 64]).unwrap();
        assert_eq!((binding.mode, binding.mask), (3, vec![3, 1]));
    }
}
