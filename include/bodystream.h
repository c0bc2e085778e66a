/* bodystream.h: read the newest pose and surface of a running bodystream from shared memory.
 *
 * C99 or C++, no dependency, nothing to link: include it first in a file. Write with `bodystream publish --name body0`
 * or `--send shm:body0`; read with:
 *
 *     bodystream_reader reader;
 *     bodystream_pose pose;
 *     if (bodystream_open("body0", &reader) != BODYSTREAM_OK) puts(reader.message);
 *     if (bodystream_read_pose(&reader, &pose) == BODYSTREAM_OK) use(pose.joints[15].position_m);   // the head
 *
 * The memory begins with a `bodystream_header`, then come a ring of poses and a ring of surfaces. Each slot of a ring
 * has a sequence number: odd while it is written, then twice the number of what it holds. A reader copies a slot and
 * looks at the sequence again: if it changed, the copy is thrown away. So nobody waits for anybody, a reader that hangs
 * or dies costs the writer nothing, and any number may read. Readers map the memory read-only.
 *
 * Axes and units: metres; right-handed, x right, y up, -z ahead (as OpenXR and glTF cameras). Quaternions are xyzw.
 * Times are nanoseconds of the host's monotonic clock (`bodystream_now_ns`). All numbers are little-endian, as on every
 * machine that it runs on.
 *
 * Licensed under Apache-2.0, as bodystream is.
 */
#ifndef BODYSTREAM_H
#define BODYSTREAM_H

#if !defined(_WIN32) && !defined(_POSIX_C_SOURCE) && !defined(_GNU_SOURCE) && defined(__STRICT_ANSI__)
#define _POSIX_C_SOURCE 200809L
#endif

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>
#else
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#endif

/* Of the layout below. A reader refuses memory of any other. */
#define BODYSTREAM_ABI 1
#define BODYSTREAM_MAGIC "BODYSHM"
#define BODYSTREAM_JOINTS 22
#define BODYSTREAM_NAME_LENGTH 18 /* the longest name; macOS allows no more */
#define BODYSTREAM_DEAD_AFTER_NS 2000000000 /* without a heartbeat; a writer that lives gives ten a second */

/* What a writer offers (`bodystream_header.offers`). */
#define BODYSTREAM_OFFERS_POSES 1u
#define BODYSTREAM_OFFERS_SURFACES 2u

/* `status` of a pose or surface. */
#define BODYSTREAM_LOST 0u /* what was before is held */
#define BODYSTREAM_DEGRADED 1u
#define BODYSTREAM_TRACKED 2u

/* `flags` of a pose. */
#define BODYSTREAM_HEAD_MEASURED 1u
#define BODYSTREAM_LEFT_MEASURED 2u
#define BODYSTREAM_RIGHT_MEASURED 4u
#define BODYSTREAM_CONTACTS_KNOWN 8u
#define BODYSTREAM_LEFT_STANDS 16u
#define BODYSTREAM_RIGHT_STANDS 32u

/* `flags` of a surface. */
#define BODYSTREAM_HAS_NORMALS 1u
#define BODYSTREAM_HAS_COLOURS 2u
#define BODYSTREAM_IN_CAMERA 4u /* seen from the camera, which is in the origin and looks along -z; else in the world */

typedef struct bodystream_header {
    char magic[8];            /* BODYSTREAM_MAGIC, written last */
    uint32_t abi;             /* BODYSTREAM_ABI */
    uint32_t header_bytes;    /* sizeof(bodystream_header) */
    uint64_t total_bytes;
    uint64_t session;         /* a random number for each start of a writer */
    uint32_t joint_count;     /* BODYSTREAM_JOINTS */
    uint32_t offers;
    uint32_t pose_offset;     /* of the first slot, from the start of the memory */
    uint32_t pose_stride;     /* from slot to slot */
    uint32_t pose_slots;
    uint32_t surface_slots;   /* 0 = no surfaces are offered */
    uint64_t surface_offset;
    uint64_t surface_stride;
    uint32_t vertex_capacity; /* of each slot */
    uint32_t face_capacity;
    int64_t started_ns;
    uint32_t writer_pid;
    uint32_t reserved_0;
    char name[32];
    char writer[32];          /* program, as "bodystream" */
    uint8_t reserved_1[96];
    char joint_names[BODYSTREAM_JOINTS][16];
    int32_t joint_parents[BODYSTREAM_JOINTS]; /* -1 = none; a parent comes before its children */
    uint8_t reserved_2[8];
    int64_t heartbeat_ns;     /* when the writer last lived */
    int64_t ended_ns;         /* when it said that nothing will come any more; 0 before */
    uint8_t reserved_3[48];
    uint64_t pose_number;     /* of the newest pose, from 1; 0 = none yet */
    uint8_t reserved_4[56];
    uint64_t surface_number;  /* of the newest surface, from 1; 0 = none yet */
    uint64_t surfaces_too_large; /* that did not fit into a slot and were left out */
    uint8_t reserved_5[176];
} bodystream_header;

typedef struct bodystream_joint {
    float position_m[3];   /* in the world */
    float rotation_xyzw[4]; /* world from bone: identity in the T-pose that looks along -z */
    float local_xyzw[4];   /* in the parent's frame; of the pelvis in the world */
    float std_m;           /* standard deviation of the position, or -1 where it is not known */
} bodystream_joint;

typedef struct bodystream_pose {
    uint64_t number;       /* from 1; gaps are poses that were written over before you looked */
    int64_t sample_ns;     /* when head and hands were measured */
    int64_t published_ns;  /* when it was written here */
    uint32_t status;
    uint32_t flags;
    float stature_m;       /* height of the head joint above the soles, standing; 0 = not known */
    uint32_t joint_count;
    bodystream_joint joints[BODYSTREAM_JOINTS];
    char reason[96];       /* for a person, why it is not tracked; UTF-8, else empty */
} bodystream_pose;

typedef struct bodystream_pose_slot {
    uint64_t sequence;     /* odd while it is written, then 2 * pose.number */
    uint8_t reserved[56];
    bodystream_pose pose;
    uint8_t padding[24];
} bodystream_pose_slot;

typedef struct bodystream_surface_info {
    uint64_t number;
    int64_t sample_ns;     /* when the camera or the headset measured it */
    int64_t published_ns;
    uint64_t topology;     /* another number whenever faces or the order of vertices changed */
    uint32_t status;
    uint32_t flags;
    uint32_t vertex_count;
    uint32_t face_count;
    uint8_t reserved[16];
} bodystream_surface_info;

/* A slot of the ring of surfaces is this, then for vertex_capacity and face_capacity, each part at the next multiple of
 * 64 bytes: vertices (3 floats) [m], normals (3 floats), colours (red, green, blue, 255), faces (3 uint32,
 * counter-clockwise seen from outside). */
typedef struct bodystream_surface_slot {
    uint64_t sequence;
    uint8_t reserved[56];
    bodystream_surface_info info;
} bodystream_surface_slot;

/* Sizes that a compiler must agree with; a negative length of an array is where it does not. */
typedef char bodystream_check_header[sizeof(bodystream_header) == 1024 ? 1 : -1];
typedef char bodystream_check_joint[sizeof(bodystream_joint) == 48 ? 1 : -1];
typedef char bodystream_check_pose[sizeof(bodystream_pose) == 1192 ? 1 : -1];
typedef char bodystream_check_pose_slot[sizeof(bodystream_pose_slot) == 1280 ? 1 : -1];
typedef char bodystream_check_surface_info[sizeof(bodystream_surface_info) == 64 ? 1 : -1];
typedef char bodystream_check_surface_slot[sizeof(bodystream_surface_slot) == 128 ? 1 : -1];

typedef enum bodystream_result {
    BODYSTREAM_OK = 0,
    BODYSTREAM_NOTHING_YET, /* the writer lives and has not written any */
    BODYSTREAM_NO_WRITER,   /* nobody publishes under this name */
    BODYSTREAM_WRITER_GONE, /* it ended or died: close, and open again for the next one */
    BODYSTREAM_OTHER_ABI,   /* written by another version than this header is of */
    BODYSTREAM_DAMAGED,     /* no memory of bodystream, or not whole */
    BODYSTREAM_DENIED,      /* it belongs to another user */
    BODYSTREAM_BAD_NAME,
    BODYSTREAM_BUSY,        /* written over again and again while it was copied: try again */
    BODYSTREAM_NOT_OFFERED, /* this writer has no poses, or no surfaces */
    BODYSTREAM_TOO_SMALL,   /* the surface is larger than the buffers that were given */
    BODYSTREAM_NO_MEMORY
} bodystream_result;

typedef struct bodystream_reader {
    const uint8_t *memory;
    uint64_t bytes;
    uint64_t session;
    uint32_t offers;
    uint32_t pose_offset, pose_slots;
    uint32_t surface_slots;
    uint64_t surface_offset, surface_stride;
    uint32_t vertex_capacity, face_capacity;
    char message[200]; /* of what went wrong last, for a person */
#ifdef _WIN32
    HANDLE mapping;
#endif
} bodystream_reader;

/* A surface in buffers of yours. Each pointer may be NULL: that part is then not copied. */
typedef struct bodystream_surface {
    bodystream_surface_info info;
    uint32_t vertex_capacity, face_capacity; /* of the buffers */
    float *vertices_m; /* 3 * vertex_capacity */
    float *normals;    /* 3 * vertex_capacity */
    uint8_t *colours;  /* 4 * vertex_capacity */
    uint32_t *faces;   /* 3 * face_capacity */
} bodystream_surface;

/* -- Atomic loads: with acquire order each, so that the copy of a slot lies between the two looks at its sequence. ---- */

static inline uint64_t bodystream_load(const void *address) {
#ifdef _MSC_VER
    return (uint64_t)ReadAcquire64((LONG64 const volatile *)address);
#else
    return __atomic_load_n((const uint64_t *)address, __ATOMIC_ACQUIRE);
#endif
}

/* Copies from shared memory, 8 bytes at a time. */
static inline void bodystream_copy(void *to, const uint8_t *from, uint64_t bytes) {
    uint64_t done = 0;
    for (; done + 8 <= bytes; done += 8) {
        uint64_t word = bodystream_load(from + done);
        memcpy((uint8_t *)to + done, &word, 8);
    }
    if (done < bytes) { /* what is beyond belongs to the slot, too */
        uint64_t word = bodystream_load(from + done);
        memcpy((uint8_t *)to + done, &word, (size_t)(bytes - done));
    }
}

static inline uint64_t bodystream_aligned(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

/* The host's monotonic clock, which all times are of. */
static inline int64_t bodystream_now_ns(void) {
#if defined(_WIN32)
    LARGE_INTEGER count, rate;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&rate);
    return (int64_t)(count.QuadPart / rate.QuadPart) * 1000000000 +
           (int64_t)(count.QuadPart % rate.QuadPart) * 1000000000 / rate.QuadPart;
#elif defined(__APPLE__)
    return (int64_t)clock_gettime_nsec_np(CLOCK_UPTIME_RAW);
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
#endif
}

static inline const char *bodystream_explain(bodystream_result result) {
    switch (result) {
    case BODYSTREAM_OK: return "all is well";
    case BODYSTREAM_NOTHING_YET: return "nothing was published yet";
    case BODYSTREAM_NO_WRITER: return "nobody publishes under this name";
    case BODYSTREAM_WRITER_GONE: return "the writer ended or died";
    case BODYSTREAM_OTHER_ABI: return "the writer is of another version";
    case BODYSTREAM_DAMAGED: return "the memory is not bodystream's, or not whole";
    case BODYSTREAM_DENIED: return "the memory belongs to another user";
    case BODYSTREAM_BAD_NAME: return "a name has 1 to 18 letters, digits, - or _";
    case BODYSTREAM_BUSY: return "it was written over again and again while it was copied";
    case BODYSTREAM_NOT_OFFERED: return "this writer does not publish it";
    case BODYSTREAM_TOO_SMALL: return "the surface is larger than the buffers";
    case BODYSTREAM_NO_MEMORY: return "there is not enough memory";
    }
    return "unknown";
}

static inline bodystream_result bodystream_fail(bodystream_reader *reader, const char *name, bodystream_result result) {
    snprintf(reader->message, sizeof reader->message, "%s: %s", name, bodystream_explain(result));
    return result;
}

/* Look at memory that is mapped already, `bytes` long and aligned to 8, and remember where things are. */
static inline bodystream_result bodystream_attach(const void *memory, uint64_t bytes, bodystream_reader *reader) {
    const uint64_t limit = 2048; /* slots */
    bodystream_header header;
    uint64_t parts;
    reader->memory = (const uint8_t *)memory;
    reader->bytes = bytes;
    if (bytes < sizeof header) return bodystream_fail(reader, "shared memory", BODYSTREAM_DAMAGED);
    bodystream_copy(&header, reader->memory, sizeof header);
    if (memcmp(header.magic, BODYSTREAM_MAGIC, sizeof header.magic) != 0)
        return bodystream_fail(reader, "shared memory", BODYSTREAM_DAMAGED);
    header.name[sizeof header.name - 1] = header.writer[sizeof header.writer - 1] = 0;
    if (header.abi != BODYSTREAM_ABI) {
        snprintf(reader->message, sizeof reader->message,
                 "%s is published with ABI %lu and this program reads ABI %d: build it again with the bodystream.h of "
                 "the bodystream that publishes",
                 header.abi > 1000 ? "it" : header.name, (unsigned long)header.abi, BODYSTREAM_ABI);
        return BODYSTREAM_OTHER_ABI;
    }
    parts = sizeof(bodystream_surface_slot) + 2 * bodystream_aligned(12 * (uint64_t)header.vertex_capacity) +
            bodystream_aligned(4 * (uint64_t)header.vertex_capacity) + bodystream_aligned(12 * (uint64_t)header.face_capacity);
    if (header.header_bytes != sizeof header || header.joint_count != BODYSTREAM_JOINTS || header.session == 0 ||
        header.total_bytes > bytes || header.pose_stride != sizeof(bodystream_pose_slot) || header.pose_slots == 0 ||
        header.pose_slots > limit || header.surface_slots > limit || header.pose_offset % 8 != 0 ||
        header.surface_offset % 8 != 0 || header.pose_offset < sizeof header ||
        header.pose_offset + (uint64_t)header.pose_slots * sizeof(bodystream_pose_slot) > bytes ||
        (header.surface_slots > 0 &&
         (header.surface_stride != parts || header.surface_offset < sizeof header || header.surface_offset > bytes ||
          header.surface_slots * parts > bytes - header.surface_offset)))
        return bodystream_fail(reader, "shared memory", BODYSTREAM_DAMAGED);
    reader->session = header.session;
    reader->offers = header.offers;
    reader->pose_offset = header.pose_offset;
    reader->pose_slots = header.pose_slots;
    reader->surface_slots = header.surface_slots;
    reader->surface_offset = header.surface_offset;
    reader->surface_stride = header.surface_stride;
    reader->vertex_capacity = header.vertex_capacity;
    reader->face_capacity = header.face_capacity;
    reader->message[0] = 0;
    return BODYSTREAM_OK;
}

/* Whether the writer that was opened still publishes. */
static inline bodystream_result bodystream_alive(const bodystream_reader *reader) {
    const uint8_t *memory = reader->memory;
    int64_t beat_ns;
    if (memory == NULL) return BODYSTREAM_NO_WRITER;
    if (bodystream_load(memory + offsetof(bodystream_header, session)) != reader->session ||
        bodystream_load(memory + offsetof(bodystream_header, ended_ns)) != 0)
        return BODYSTREAM_WRITER_GONE;
    beat_ns = (int64_t)bodystream_load(memory + offsetof(bodystream_header, heartbeat_ns));
    return bodystream_now_ns() - beat_ns > BODYSTREAM_DEAD_AFTER_NS ? BODYSTREAM_WRITER_GONE : BODYSTREAM_OK;
}

static inline void bodystream_close(bodystream_reader *reader) {
    if (reader->memory != NULL) {
#ifdef _WIN32
        UnmapViewOfFile(reader->memory);
        CloseHandle(reader->mapping);
#else
        munmap((void *)(uintptr_t)reader->memory, (size_t)reader->bytes);
#endif
    }
    reader->memory = NULL;
}

/* Find what is published under `name`. Whatever it returns, `bodystream_close` may be called; `reader->message` says
 * what went wrong. Waits for nobody: call it again until the writer is there. */
static inline bodystream_result bodystream_open(const char *name, bodystream_reader *reader) {
    char path[64];
    size_t length, k;
    bodystream_result result;
    memset(reader, 0, sizeof *reader);
    for (length = 0; length <= BODYSTREAM_NAME_LENGTH && name[length] != 0; length++) {
    }
    for (k = 0; k < length; k++) {
        char c = name[k];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_')) length = 0;
    }
    if (length == 0 || length > BODYSTREAM_NAME_LENGTH) return bodystream_fail(reader, "name", BODYSTREAM_BAD_NAME);
    {
#ifdef _WIN32
        MEMORY_BASIC_INFORMATION region;
        snprintf(path, sizeof path, "Local\\bodystream.%s", name);
        reader->mapping = OpenFileMappingA(FILE_MAP_READ, FALSE, path);
        if (reader->mapping == NULL)
            return bodystream_fail(reader, name, GetLastError() == ERROR_ACCESS_DENIED ? BODYSTREAM_DENIED : BODYSTREAM_NO_WRITER);
        reader->memory = (const uint8_t *)MapViewOfFile(reader->mapping, FILE_MAP_READ, 0, 0, 0);
        if (reader->memory == NULL) {
            CloseHandle(reader->mapping);
            return bodystream_fail(reader, name, BODYSTREAM_NO_MEMORY);
        }
        VirtualQuery(reader->memory, &region, sizeof region);
        reader->bytes = region.RegionSize;
#else
        struct stat status;
        void *memory;
        int file;
#ifdef __linux__
        snprintf(path, sizeof path, "/dev/shm/bodystream.%s", name); /* as shm_open, which older systems have in librt */
        file = open(path, O_RDONLY | O_CLOEXEC);
#else
        snprintf(path, sizeof path, "/bodystream.%s", name);
        file = shm_open(path, O_RDONLY, 0);
#endif
        if (file < 0) return bodystream_fail(reader, name, errno == EACCES ? BODYSTREAM_DENIED : BODYSTREAM_NO_WRITER);
        if (fstat(file, &status) != 0 || status.st_size < (off_t)sizeof(bodystream_header)) {
            close(file);
            return bodystream_fail(reader, name, BODYSTREAM_DAMAGED);
        }
        memory = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, file, 0);
        close(file);
        if (memory == MAP_FAILED) return bodystream_fail(reader, name, BODYSTREAM_NO_MEMORY);
        reader->memory = (const uint8_t *)memory;
        reader->bytes = (uint64_t)status.st_size;
#endif
    }
    result = bodystream_attach(reader->memory, reader->bytes, reader);
    if (result == BODYSTREAM_OK) {
        result = bodystream_alive(reader);
        if (result != BODYSTREAM_OK) bodystream_fail(reader, name, result);
    }
    if (result != BODYSTREAM_OK) bodystream_close(reader);
    return result;
}

/* The newest pose. Of another result than BODYSTREAM_OK, `pose_out` holds nothing of use. */
static inline bodystream_result bodystream_read_pose(const bodystream_reader *reader, bodystream_pose *pose_out) {
    int attempt;
    bodystream_result alive = bodystream_alive(reader);
    if (alive != BODYSTREAM_OK) return alive;
    if (!(reader->offers & BODYSTREAM_OFFERS_POSES)) return BODYSTREAM_NOT_OFFERED;
    for (attempt = 0; attempt < 100; attempt++) {
        uint64_t number = bodystream_load(reader->memory + offsetof(bodystream_header, pose_number));
        const uint8_t *slot;
        if (number == 0) return BODYSTREAM_NOTHING_YET;
        slot = reader->memory + reader->pose_offset + (number - 1) % reader->pose_slots * sizeof(bodystream_pose_slot);
        if (bodystream_load(slot) != 2 * number) continue;
        bodystream_copy(pose_out, slot + offsetof(bodystream_pose_slot, pose), sizeof *pose_out);
        if (bodystream_load(slot) != 2 * number) continue;
        pose_out->reason[sizeof pose_out->reason - 1] = 0;
        return BODYSTREAM_OK;
    }
    return BODYSTREAM_BUSY;
}

/* The newest pose that is newer than number `after` (that of the last one you read; 0 at first), waiting for it up to
 * `timeout_ms`. BODYSTREAM_NOTHING_YET: none came in time. A loop that draws frames need not wait: it reads. */
static inline bodystream_result bodystream_wait_pose(const bodystream_reader *reader, uint64_t after, int timeout_ms,
                                                     bodystream_pose *pose_out) {
    int64_t until_ns = bodystream_now_ns() + (int64_t)timeout_ms * 1000000;
    for (;;) {
        bodystream_result alive = bodystream_alive(reader);
        if (alive != BODYSTREAM_OK) return alive;
        if (bodystream_load(reader->memory + offsetof(bodystream_header, pose_number)) != after) {
            bodystream_result result = bodystream_read_pose(reader, pose_out);
            if (result != BODYSTREAM_OK || pose_out->number != after) return result;
        }
        if (bodystream_now_ns() >= until_ns) return BODYSTREAM_NOTHING_YET;
#ifdef _WIN32
        Sleep(1);
#else
        {
            struct timespec pause = {0, 50000};
            nanosleep(&pause, NULL);
        }
#endif
    }
}

/* Buffers as large as any surface of this writer; `bodystream_free_surface` gives them back. */
static inline bodystream_result bodystream_make_surface(const bodystream_reader *reader, bodystream_surface *surface_out) {
    size_t vertices = reader->vertex_capacity, faces = reader->face_capacity;
    memset(surface_out, 0, sizeof *surface_out);
    if (reader->surface_slots == 0) return BODYSTREAM_NOT_OFFERED;
    surface_out->vertex_capacity = reader->vertex_capacity;
    surface_out->face_capacity = reader->face_capacity;
    surface_out->vertices_m = (float *)malloc(12 * vertices);
    surface_out->normals = (float *)malloc(12 * vertices);
    surface_out->colours = (uint8_t *)malloc(4 * vertices);
    surface_out->faces = (uint32_t *)malloc(12 * faces);
    return surface_out->vertices_m && surface_out->normals && surface_out->colours && surface_out->faces
               ? BODYSTREAM_OK : BODYSTREAM_NO_MEMORY;
}

static inline void bodystream_free_surface(bodystream_surface *surface) {
    free(surface->vertices_m);
    free(surface->normals);
    free(surface->colours);
    free(surface->faces);
    memset(surface, 0, sizeof *surface);
}

/* The newest surface, into the buffers that `surface` points to. Where `info.topology` is that of the last one, faces
 * are the same, too, and `faces` may be NULL to save their copy. */
static inline bodystream_result bodystream_read_surface(const bodystream_reader *reader, bodystream_surface *surface) {
    int attempt;
    bodystream_result alive = bodystream_alive(reader);
    if (alive != BODYSTREAM_OK) return alive;
    if (reader->surface_slots == 0) return BODYSTREAM_NOT_OFFERED;
    for (attempt = 0; attempt < 100; attempt++) {
        uint64_t number = bodystream_load(reader->memory + offsetof(bodystream_header, surface_number));
        uint64_t vertices, faces;
        const uint8_t *slot, *part;
        bodystream_surface_info info;
        if (number == 0) return BODYSTREAM_NOTHING_YET;
        slot = reader->memory + reader->surface_offset + (number - 1) % reader->surface_slots * reader->surface_stride;
        if (bodystream_load(slot) != 2 * number) continue;
        bodystream_copy(&info, slot + offsetof(bodystream_surface_slot, info), sizeof info);
        if (bodystream_load(slot) != 2 * number) continue;
        vertices = info.vertex_count;
        faces = info.face_count;
        if (vertices > reader->vertex_capacity || faces > reader->face_capacity) return BODYSTREAM_DAMAGED;
        surface->info = info;
        if (vertices > surface->vertex_capacity || faces > surface->face_capacity) return BODYSTREAM_TOO_SMALL;
        part = slot + sizeof(bodystream_surface_slot);
        if (surface->vertices_m) bodystream_copy(surface->vertices_m, part, 12 * vertices);
        part += bodystream_aligned(12 * (uint64_t)reader->vertex_capacity);
        if (surface->normals) bodystream_copy(surface->normals, part, 12 * vertices);
        part += bodystream_aligned(12 * (uint64_t)reader->vertex_capacity);
        if (surface->colours) bodystream_copy(surface->colours, part, 4 * vertices);
        part += bodystream_aligned(4 * (uint64_t)reader->vertex_capacity);
        if (surface->faces) bodystream_copy(surface->faces, part, 12 * faces);
        if (bodystream_load(slot) == 2 * number) return BODYSTREAM_OK;
    }
    return BODYSTREAM_BUSY;
}

/* Name of a joint of SMPL's order, 0 to 21, into `name_out`; its parent is returned, -1 = none. */
static inline int bodystream_joint_name(const bodystream_reader *reader, int joint, char name_out[16]) {
    bodystream_header header;
    name_out[0] = 0;
    if (reader->memory == NULL || joint < 0 || joint >= BODYSTREAM_JOINTS) return -1;
    bodystream_copy(&header, reader->memory, sizeof header);
    memcpy(name_out, header.joint_names[joint], 16);
    name_out[15] = 0;
    return header.joint_parents[joint];
}

#endif
