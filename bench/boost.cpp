/* SPDX-License-Identifier: MIT */

/*
 * A managed_shared_memory of Boost.Interprocess, for those who write C
 */

#include "bench/boost.h"

#include <boost/interprocess/managed_shared_memory.hpp>
#include <new>
#include <string>
#include <unistd.h>

using namespace boost::interprocess;

static managed_shared_memory *memory;

int bench_boost_open(uint64_t bytes)
{
	std::string name = "bench-boost-" + std::to_string(getpid());

	try {
		memory = new managed_shared_memory(create_only, name.c_str(), bytes);
		/* The mapping is inherited; nobody needs the name. */
		return shared_memory_object::remove(name.c_str()) ? 0 : -1;
	} catch (const interprocess_exception &) {
		return -1;
	}
}

void *bench_boost_alloc(size_t len)
{
	return memory->allocate(len, std::nothrow);
}

void bench_boost_free(void *block)
{
	memory->deallocate(block);
}

uint64_t bench_boost_taken(void)
{
	return memory->get_size() - memory->get_free_memory();
}
