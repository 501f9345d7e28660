/** @file
 * What a shared library shows of itself. CAMNORM_SHARED is set, by the CMake target and by pkg-config, where
 * camnorm is one; in a static library everything stays hidden from those who load what it is linked into. */
#ifndef CAMNORM_EXPORT_H
#define CAMNORM_EXPORT_H

#ifdef CAMNORM_SHARED
#define CAMNORM_EXPORT __attribute__((visibility("default")))
#else
#define CAMNORM_EXPORT
#endif

#endif
