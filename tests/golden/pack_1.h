/* SPDX-License-Identifier: MIT */

/*
 * Golden messages of format 1, as a little-endian machine writes them
 *
 * GOLDEN(name, type, value, hex). They must decode for ever. One that a later version
 * writes otherwise keeps its line, with NULL for the value.
 */

GOLDEN("tuple", tuple, &a_tuple, "831a0001e240fb400a0000000000006b68656c6c6f20776f726c64")
GOLDEN("everything", everything, &all,
       "94f538633903e71a000186a03b000000012a05f1ff18ff19ffff1affffffff1bffffffffffff"
       "fffffa3f000000fb3fb999999999999a19012c676772c3bcc39f6567736576656e2063430001"
       "0244deadbeefd84d46ffff0000e803d85650000000000000f03f00000000000000c082fb3fd0"
       "000000000000fb800000000000000082674d61696e205374193039")
GOLDEN("nothing", everything, &nothing,
       "94f40000000000000000fa00000000fb000000000000000000f660f64400000000f6d8565000"
       "00000000000000000000000000000082fb0000000000000000fb0000000000000000f6")
GOLDEN("vectors", vectors, &numbers,
       "8ad84842807fd84d440080ff7fd84e4800000080ffffff7fd84f500000000000000080ffffff"
       "ffffffff7fd8404200ffd845440100ffffd8464802000000ffffffffd8475003000000000000"
       "00ffffffffffffffffd855480000c03f000000c0d856509a9999999999b93f00000000000008"
       "c0")
GOLDEN("no vectors", vectors, &no_numbers, "8af6f6f6f6f6f6f6f6f6f6")
GOLDEN("tree", tree, &root, "83028301f68303f6f6833a0001116ff6f6")
GOLDEN("not utf-8", tuple, &latin1, "8320fb000000000000000044636166e9")
