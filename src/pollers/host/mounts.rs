//! Which of the mounts are disks worth watching: a pure choice from /proc/self/mountinfo.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use procfs::process::MountInfo;

use super::Selection;

/// A mounted file system to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mount {
    /// Where.
    pub(super) point: PathBuf,
    /// Whether a server elsewhere answers for it, or does not.
    pub(super) remote: bool,
}

/// File systems that a server elsewhere answers for.
const REMOTE: [&str; 13] = [
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "9p", "afs", "lustre", "fuse.sshfs",
    "fuse.rclone", "fuse.glusterfs",
];

/// File systems without a device that keep files all the same.
const WITHOUT_DEVICE: [&str; 4] = ["zfs", "btrfs", "bcachefs", "virtiofs"];

/// File systems that are full by nature, since nothing can be written to them.
const READ_ONLY: [&str; 5] = ["squashfs", "erofs", "iso9660", "udf", "cramfs"];

/// The mounts to watch: no pseudo file systems, and each file system once, at the shortest of the
/// paths it is mounted at, so that bind mounts and subvolumes do not count again.
pub(super) fn select(mounts: &[MountInfo], selection: &Selection) -> Vec<Mount> {
    let mut by_device = BTreeMap::<&str, Mount>::new();
    for info in mounts {
        let kind = info.fs_type.as_str();
        let source = info.mount_source.as_deref().unwrap_or_default();
        let remote = REMOTE.contains(&kind);
        let point = unescaped(&info.mount_point);
        // In a container the root is an overlay over files of the host's.
        let root = kind == "overlay" && point == Path::new("/");
        let keeps_files =
            remote || root || WITHOUT_DEVICE.contains(&kind) || source.starts_with("/dev/");
        if !keeps_files || READ_ONLY.contains(&kind) {
            continue;
        }
        let mount = Mount { point, remote };
        let length = |mount: &Mount| mount.point.as_os_str().len();
        by_device
            .entry(&info.majmin)
            .and_modify(|known| {
                if (length(&mount), &mount) < (length(known), &*known) {
                    *known = mount.clone();
                }
            })
            .or_insert(mount);
    }
    // Only now: who leaves out /home does not want its snapshots instead.
    let mut chosen: Vec<_> =
        by_device.into_values().filter(|mount| selection.selects(&mount.point)).collect();
    chosen.sort_unstable();
    chosen
}

/// The kernel writes a space, a tab, a newline and a backslash as `\040`, `\011`, `\012`, `\134`.
fn unescaped(point: &Path) -> PathBuf {
    let mut text = point.to_string_lossy().into_owned();
    for (escaped, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(escaped, plain);
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use procfs::FromBufRead;
    use procfs::process::MountInfos;

    use super::*;

    /// Lines of real hosts: a laptop with snaps and btrfs, a server with NFS, a container.
    const CAPTURE: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
31 27 7:1 / /snap/core20/1974 ro,nodev,relatime shared:2 - squashfs /dev/loop1 ro
40 27 0:40 /@home /home rw,relatime shared:3 - btrfs /dev/sdb1 rw
41 27 0:40 /@snapshots /home/.snapshots rw,relatime shared:4 - btrfs /dev/sdb1 rw
50 27 0:50 / /mnt/my\\040files rw,relatime shared:5 - nfs4 nas:/files rw,addr=10.0.0.9
60 27 254:0 /var/lib/thing /srv/thing rw,relatime shared:1 - ext4 /dev/vda1 rw
70 27 8:17 / /media/usb rw,relatime shared:6 - vfat /dev/sdc1 rw
80 27 0:80 / /run/user/1000/gvfs rw - fuse.gvfsd-fuse gvfsd-fuse rw
";

    fn points(capture: &str, selection: &Selection) -> Vec<(String, bool)> {
        let mounts = MountInfos::from_buf_read(capture.as_bytes()).unwrap();
        let shown = |m: Mount| (m.point.to_string_lossy().into_owned(), m.remote);
        select(&mounts.0, selection).into_iter().map(shown).collect()
    }

    #[test]
    fn disks_are_chosen_once_each_and_pseudo_file_systems_never() {
        let expected = [
            ("/", false),
            ("/home", false),
            ("/media/usb", false),
            ("/mnt/my files", true),
        ];
        let expected = expected.map(|(point, remote)| (point.to_owned(), remote));
        assert_eq!(points(CAPTURE, &Selection::default_without(&[])), expected);
    }

    #[test]
    fn globs_leave_mounts_out() {
        let selection = Selection::default_without(&["/m*", "/home"]);
        assert_eq!(points(CAPTURE, &selection), [("/".to_owned(), false)]);
    }

    #[test]
    fn a_container_has_its_root() {
        let capture = "500 400 0:60 / / rw,relatime - overlay overlay rw,lowerdir=/a\n\
                       501 500 0:61 / /proc rw - proc proc rw\n";
        assert_eq!(points(capture, &Selection::default_without(&[])), [("/".to_owned(), false)]);
    }
}
