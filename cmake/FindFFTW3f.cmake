# FFTW in single precision, as the target FFTW3f::FFTW3f. FFTW has package files of its own only where CMake
# built it.
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(PC_FFTW3f QUIET fftw3f)
endif()
find_path(FFTW3f_INCLUDE_DIR fftw3.h HINTS ${PC_FFTW3f_INCLUDE_DIRS})
find_library(FFTW3f_LIBRARY fftw3f HINTS ${PC_FFTW3f_LIBRARY_DIRS})
mark_as_advanced(FFTW3f_INCLUDE_DIR FFTW3f_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(FFTW3f REQUIRED_VARS FFTW3f_LIBRARY FFTW3f_INCLUDE_DIR)

if(FFTW3f_FOUND AND NOT TARGET FFTW3f::FFTW3f)
  add_library(FFTW3f::FFTW3f UNKNOWN IMPORTED)
  set_target_properties(FFTW3f::FFTW3f PROPERTIES
    IMPORTED_LOCATION ${FFTW3f_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${FFTW3f_INCLUDE_DIR})
endif()
