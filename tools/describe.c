/* SPDX-License-Identifier: MIT */

/*
 * What ls and info both say of a segment
 */

#include "tools/describe.h"

#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void segment_read(struct segment *ret, const struct found *found)
{
	int r = source_open(&ret->source, found->path, !found->named);

	ret->found = found;
	if (r < 0)
		image_unreadable(&ret->image, r);
	else
		image_read(&ret->image, &ret->source);
}

void segment_free(struct segment *segment)
{
	image_free(&segment->image);
	source_close(&segment->source);
}

const char *segment_state(const struct segment *segment, const char **ret_why)
{
	const struct image *image = &segment->image;

	*ret_why = image->why[0] ? image->why : NULL;
	switch (image->verdict) {
	case IMAGE_UNREADABLE:
		return "unreadable";
	case IMAGE_ALIEN:
		return "alien";
	case IMAGE_FOREIGN:
		return "foreign";
	case IMAGE_CORRUPT:
		return "corrupt";
	case IMAGE_GOOD:
		break;
	}
	for (size_t i = 0; i < image->n_objects; i++) {
		if (image->objects[i].possible)
			continue;
		*ret_why = image->objects[i].why;
		return "corrupt";
	}
	if (image->in_use < 0)
		return "copy";
	if (image->in_use)
		return "live";
	if (image->head.flags & MPROC_SEGMENT_PERSISTENT)
		return "persistent";
	/* What cannot be found by a name lives only as long as somebody has it open. */
	return segment->found->name && segment->source.st.st_nlink ? "dead" : "unused";
}

const char *segment_state_text(const struct segment *segment, struct text *buf)
{
	const char *why, *state = segment_state(segment, &why);
	const struct image *image = &segment->image;

	if (!strcmp(state, "foreign") && image->has_origin && image->head.layout != MPROC__LAYOUT)
		snprintf(buf->at, sizeof(buf->at), "foreign layout %" PRIu32 "%s",
			 image->head.layout, image->in_use == 1 ? ", in use" : "");
	else
		snprintf(buf->at, sizeof(buf->at), "%s%s%s", state, why ? ": " : "",
			 why ? why : "");
	return buf->at;
}

const char *segment_place(const struct segment *segment)
{
	const struct found *found = segment->found;

	if (!found->name || found->named || segment->image.verdict == IMAGE_UNREADABLE)
		return "";
	return segment->source.st.st_nlink ? " (elsewhere)" : " (unlinked)";
}

const char *user_text(struct text *buf, uid_t uid)
{
	const struct passwd *pw = getpwuid(uid);

	if (pw)
		return text_escape_str(buf, pw->pw_name, TEXT_MAX);
	snprintf(buf->at, sizeof(buf->at), "%u", (unsigned)uid);
	return buf->at;
}

const char *group_text(struct text *buf, gid_t gid)
{
	const struct group *gr = getgrgid(gid);

	if (gr)
		return text_escape_str(buf, gr->gr_name, TEXT_MAX);
	snprintf(buf->at, sizeof(buf->at), "%u", (unsigned)gid);
	return buf->at;
}

size_t segment_onlookers(const struct segment *segment, pid_t ret[FIND_HOLDERS_MAX])
{
	const struct found *found = segment->found;
	const struct image *image = &segment->image;
	size_t n = 0;

	for (size_t i = 0; i < found->n_holders && i < FIND_HOLDERS_MAX; i++) {
		bool takes_part = image->verdict != IMAGE_GOOD;

		for (size_t k = 0; k < image->n_procs && !takes_part; k++)
			takes_part = image->procs[k].pid_ns != namespace_here() ||
				     (pid_t)image->procs[k].pid == found->holders[i];
		if (!takes_part)
			ret[n++] = found->holders[i];
	}
	return n;
}

char *id_text(char buf[33], const unsigned char uuid[16])
{
	for (size_t i = 0; i < 16; i++)
		snprintf(buf + 2 * i, 3, "%02x", uuid[i]);
	return buf;
}

uint64_t namespace_here(void)
{
	struct stat ns;

	return stat("/proc/self/ns/pid", &ns) == 0 ? (uint64_t)ns.st_ino : 0;
}

char process_state(const struct image_proc *proc)
{
	unsigned flags;
	char state;

	/* While it lives its number is not another's, in the namespace it is a number of. */
	if (proc->life != IMAGE_ALIVE || proc->pid_ns != namespace_here() ||
	    !find_process_state((pid_t)proc->pid, &state, &flags))
		return 0;
	return state;
}

/* The participant that a worker is, or NULL. */
static const struct image_proc *worker_proc(const struct image *image,
					    const struct image_worker *worker)
{
	const struct image_proc *ret = NULL;

	for (size_t i = 0; i < image->n_procs; i++) {
		if (image->procs[i].pid != worker->pid)
			continue;
		ret = &image->procs[i];
		/* A number may have been a dead participant's before. */
		if (ret->life == IMAGE_ALIVE)
			break;
	}
	return ret;
}

const char *worker_state(const struct image *image, const struct image_worker *worker)
{
	const struct image_proc *proc = worker_proc(image, worker);

	if (!worker->pid)
		return "none";
	if (proc && (proc->life == IMAGE_DEAD || proc->life == IMAGE_REAPED))
		return "dead";
	return !worker->ready ? "starting" : worker->running ? "running" : "idle";
}

bool worker_stopped(const struct image *image, const struct image_worker *worker)
{
	const struct image_proc *proc = worker->pid ? worker_proc(image, worker) : NULL;
	char state = proc ? process_state(proc) : 0;

	return state == 'T' || state == 't';
}

const char *pool_state(const struct mproc__pool_seen *seen)
{
	switch (seen->state) {
	case MPROC__POOL_RUNNING:
		return "running";
	case MPROC__POOL_DOWN:
		return "down";
	case MPROC__POOL_BROKEN:
		return "broken";
	default:
		return "?";
	}
}

const char *object_text(struct text *buf, const struct image_object *object)
{
	const char *kind = mproc__kind_name(object->view.kind);
	struct text name;

	if (!kind)
		kind = "object";
	if (object->view.name[0])
		snprintf(buf->at, sizeof(buf->at), "%s %s", kind,
			 text_escape_str(&name, object->view.name, sizeof(object->view.name)));
	else
		snprintf(buf->at, sizeof(buf->at), "%s #%" PRIu32, kind, object->entry);
	return buf->at;
}

const char *what_text(struct text *buf, const struct image *image, uint64_t what)
{
	uint64_t off = mproc__what_off(what);
	uint32_t kind = mproc__what_kind(what);
	const struct image_object *object = image_object_at(image, off);
	const char *name = mproc__kind_name(kind);
	struct text inside;

	if (kind == MPROC__KIND_CATALOGUE || kind == MPROC__KIND_ARENA)
		snprintf(buf->at, sizeof(buf->at), "%s", name);
	else if (object && object->view.kind == kind)
		object_text(buf, object);
	else if (object)
		snprintf(buf->at, sizeof(buf->at), "%s at %" PRIu64 " in %s", name ? name : "?",
			 off - object->view.off, object_text(&inside, object));
	else
		snprintf(buf->at, sizeof(buf->at), "%s at %" PRIu64, name ? name : "?", off);
	return buf->at;
}

void json_put(json_object *object, const char *key, json_object *value)
{
	/* Keys are literals, each given once. */
	if (json_object_object_add_ex(object, key, value,
				      JSON_C_OBJECT_ADD_KEY_IS_NEW |
					      JSON_C_OBJECT_ADD_CONSTANT_KEY) == 0)
		return;
	fprintf(stderr, "shmtool: no memory for JSON\n");
	exit(EXIT_FAILURE);
}

void json_put_text(json_object *object, const char *key, const char *text)
{
	json_put(object, key, text ? json_object_new_string(text) : NULL);
}

void json_put_bytes(json_object *object, const char *key, const char *bytes, size_t cap)
{
	struct text buf;

	json_put_text(object, key, bytes && *bytes ? text_escape_str(&buf, bytes, cap) : NULL);
}

void json_put_uint(json_object *object, const char *key, uint64_t value)
{
	json_put(object, key, json_object_new_uint64(value));
}

void json_put_bool(json_object *object, const char *key, bool value)
{
	json_put(object, key, json_object_new_boolean(value));
}

static json_object *counted(const char *key1, uint64_t value1, const char *key2, uint64_t value2,
			    const char *key3, uint64_t value3)
{
	json_object *ret = json_object_new_object();

	json_put_uint(ret, key1, value1);
	json_put_uint(ret, key2, value2);
	if (key3)
		json_put_uint(ret, key3, value3);
	return ret;
}

/* The members that only a segment of ours has. */
static void put_inside(json_object *ret, const struct image *image)
{
	const struct mproc__segment_head *head = &image->head;
	json_object *creator = json_object_new_object();
	char id[33];

	json_put_text(ret, "id", id_text(id, head->uuid));
	json_put_uint(ret, "size", image_memory(image));
	json_put_uint(ret, "size_max", head->size_max);
	json_put_uint(ret, "grown", image->n_grown);
	json_put_uint(ret, "used", image_used(image));
	json_put(ret, "processes",
		 counted("living", image->n_living, "dead", image->n_dead, "slots", head->n_procs));
	json_put(ret, "threads",
		 counted("attached", image->n_threads, "records", head->n_threads, NULL, 0));
	json_put(ret, "objects",
		 counted("live", image->n_live, "damaged", image->n_damaged, "slots",
			 head->n_objects));
	json_put_uint(ret, "created_ns", head->since);
	json_put_bytes(creator, "exe", head->exe, sizeof(head->exe));
	json_put_uint(creator, "pid", head->pid);
	json_put_uint(creator, "pid_namespace", head->pid_ns);
	json_put(ret, "creator", creator);
}

json_object *segment_json(const struct segment *segment)
{
	static const char *const inside[] = { "id",         "size",      "size_max", "grown",
					      "used",       "processes", "threads",  "objects",
					      "created_ns", "creator" };
	const struct found *found = segment->found;
	const struct image *image = &segment->image;
	json_object *ret = json_object_new_object(), *list = json_object_new_array();
	const struct stat *st = &segment->source.st;
	const char *why, *state = segment_state(segment, &why);
	struct text buf;
	pid_t onlookers[FIND_HOLDERS_MAX];
	size_t n_onlookers;
	char mode[8];

	json_put_bytes(ret, "name", found->name, TEXT_MAX);
	json_put_bytes(ret, "path", found->path, TEXT_MAX);
	json_put_bool(ret, "linked", found->named);
	json_put_text(ret, "state", state);
	json_put_text(ret, "why", why);
	json_put(ret, "in_use", image->in_use < 0 ? NULL : json_object_new_boolean(image->in_use));
	json_put(ret, "layout",
		 image->has_origin ? json_object_new_uint64(image->head.layout) : NULL);
	json_put(ret, "persistent",
		 image->has_origin
			 ? json_object_new_boolean(image->head.flags & MPROC_SEGMENT_PERSISTENT)
			 : NULL);
	json_put_uint(ret, "uid", st->st_uid);
	json_put_text(ret, "user", user_text(&buf, st->st_uid));
	snprintf(mode, sizeof(mode), "%04o", (unsigned)(st->st_mode & 07777));
	json_put_text(ret, "mode", mode);
	json_put_uint(ret, "gid", st->st_gid);
	json_put_text(ret, "group", group_text(&buf, st->st_gid));
	json_put_uint(ret, "file_size", (uint64_t)st->st_size);
	if (image->verdict == IMAGE_GOOD)
		put_inside(ret, image);
	else
		for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++)
			json_put(ret, inside[i], NULL);
	for (size_t i = 0; i < found->n_holders && i < FIND_HOLDERS_MAX; i++)
		json_object_array_add(list, json_object_new_uint64((uint64_t)found->holders[i]));
	json_put(ret, "holders", list);
	list = json_object_new_array();
	n_onlookers = segment_onlookers(segment, onlookers);
	for (size_t i = 0; i < n_onlookers; i++)
		json_object_array_add(list, json_object_new_uint64((uint64_t)onlookers[i]));
	json_put(ret, "onlookers", list);
	return ret;
}

void json_print(json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_SPACED |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}
