/* SPDX-License-Identifier: MIT */
#ifndef MPROC_MPROC_H
#define MPROC_MPROC_H

/*
 * Everything that mproc offers
 */

#include <mproc/any.h>
#include <mproc/arena.h>
#include <mproc/array.h>
#include <mproc/barrier.h>
#include <mproc/common.h>
#include <mproc/condition.h>
#include <mproc/cpu.h>
#include <mproc/deadlock.h>
#include <mproc/dict.h>
#include <mproc/error.h>
#include <mproc/event.h>
#include <mproc/future.h>
#include <mproc/guard.h>
#include <mproc/latch.h>
#include <mproc/list.h>
#include <mproc/local.h>
#include <mproc/mutex.h>
#include <mproc/namespace.h>
#include <mproc/once.h>
#include <mproc/pack.h>
#include <mproc/pool.h>
#include <mproc/queue.h>
#include <mproc/ref.h>
#include <mproc/ringlog.h>
#include <mproc/rmutex.h>
#include <mproc/rwlock.h>
#include <mproc/segment.h>
#include <mproc/semaphore.h>
#include <mproc/string.h>
#include <mproc/task.h>
#include <mproc/thread.h>
#include <mproc/timer.h>
#include <mproc/types.h>
#include <mproc/value.h>
#include <mproc/view.h>

#endif /* MPROC_MPROC_H */
