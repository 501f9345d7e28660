#pragma once

/// @file
/// The version.

// The one place where the version is written: CMakeLists.txt and pyproject.toml read it from here.
#define CAMNORM_VERSION "0.1.0"
