//! Recorded on Linux 6.18 (x86-64, 2 processors, virtio disk), shortened where a comment says so.

/// The `intr` line is cut after its first numbers.
pub(crate) const STAT: &str = "cpu  14327 0 7455 1329784 1454 0 93 75 0 0
cpu0 6425 0 3366 666570 194 0 17 27 0 0
cpu1 7902 0 4089 663214 1260 0 75 47 0 0
intr 371058 0 0 0 0 0 0 0 1 1 13 0 0 0 0 1355 952 0 122 1 82294 0 4091 3266
ctxt 616243
btime 1795203238
processes 8931
procs_running 1
procs_blocked 0
softirq 343302 0 72862 4 7176 82292 0 137 117370 30 63431
";
pub(crate) const LOADAVG: &str = "0.49 0.36 0.15 1/87 8934\n";
/// The first lines.
pub(crate) const MEMINFO: &str = "MemTotal:       24684084 kB
MemFree:        23815296 kB
MemAvailable:   24317092 kB
Buffers:           68572 kB
Cached:           582988 kB
SwapCached:            0 kB
SwapTotal:             0 kB
SwapFree:              0 kB
Dirty:             82628 kB
HugePages_Total:       0
";
/// Four of its lines and a neighbour.
pub(crate) const VMSTAT: &str =
    "nr_free_pages 919956\npgpgin 9349825\npswpin 0\npswpout 0\npgfault 14267539\npgmajfault 6723\n";
pub(crate) const DISKSTATS: &str = "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 254       0 vda 97362 53140 15091146 103584 9000 25194 2573808 13842 0 20136 118150 4562 60 490592 677 748 45
 253       0 zram0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
";
pub(crate) const MOUNTINFO: &str = "22 27 0:21 / /proc rw,relatime - proc proc rw
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24684084k
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard,resv_strict,resuid=65534,resgid=65534
30 25 0:27 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24684084k
";
pub(crate) const NET_DEV: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 3390517     168    0    0    0     0          0         0  3390517     168    0    0    0     0       0          0
  eth0: 223664189    6844    0    0    0     0          0         0   420237    4151    0    0    0     0       0          0
";
pub(crate) const PRESSURE: &str = "some avg10=1.79 avg60=3.04 avg300=1.31 total=12227683
full avg10=1.76 avg60=2.96 avg300=1.23 total=11379710
";
/// With another program's name: one that tries to fool the parser.
pub(crate) const SELF_STAT: &str = "8936 (a) 1 (b) R 8926 8926 7934 0 -1 4194304 102 0 7 0 31 20 0 0 20 0 1 0 678116 2998272 382 18446744073709551615 93960553295872 93960553319977 140733951522960 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 93960553335824\n";
/// Some of its lines.
pub(crate) const SELF_STATUS: &str = "Name:	head
Groups:	 
VmHWM:	    1688 kB
VmRSS:	    1600 kB
Threads:	1
voluntary_ctxt_switches:	12
nonvoluntary_ctxt_switches:	1
";
