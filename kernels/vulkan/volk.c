/* volk, Debian's Vulkan loader in one source file, compiled once. */
#define VOLK_IMPLEMENTATION
#include <volk.h>
