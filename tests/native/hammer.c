/* Reads as fast as it can while somebody writes, and counts copies that are not of one piece.
 *
 *     hammer attach NAME READS             what another process writes under a name
 *     hammer threads READS READERS HZ      a writer and readers as threads of this process: for ThreadSanitizer
 *     hammer surfaces NAME READS           surfaces of another process
 *
 * Each number in pose or surface k is k % 1000003, so that two poses in one copy show. With -DBROKEN_WRITER the writer
 * of `threads` leaves out the odd sequence, which has to be noticed here. Prints `reads torn busy ns_per_read newest`.
 */
#include <bodystream.h>

#include <pthread.h>

#define SLOTS 16

static float mark(uint64_t number) { return (float)(number % 1000003); }

static int is_whole(const bodystream_pose *pose) {
    int joint, k;
    float wanted = mark(pose->number);
    if (pose->sample_ns != (int64_t)pose->number || pose->joint_count != BODYSTREAM_JOINTS) return 0;
    for (joint = 0; joint < BODYSTREAM_JOINTS; joint++) {
        const bodystream_joint *one = &pose->joints[joint];
        for (k = 0; k < 3; k++)
            if (one->position_m[k] != wanted) return 0;
        for (k = 0; k < 4; k++)
            if (one->rotation_xyzw[k] != wanted || one->local_xyzw[k] != wanted) return 0;
        if (one->std_m != wanted) return 0;
    }
    return 1;
}

typedef struct {
    const bodystream_reader *reader;
    uint64_t reads, torn, busy, backwards, newest;
    int64_t took_ns;
    bodystream_result result;
} reading;

static void *read_poses(void *argument) {
    reading *own = (reading *)argument;
    bodystream_pose pose;
    uint64_t k, wanted = own->reads;
    int64_t start_ns = bodystream_now_ns();
    own->reads = 0;
    for (k = 0; k < wanted;) {
        own->result = bodystream_read_pose(own->reader, &pose);
        if (own->result == BODYSTREAM_NOTHING_YET) continue;
        if (own->result == BODYSTREAM_BUSY) own->busy++;
        else if (own->result != BODYSTREAM_OK) break;
        else {
            if (!is_whole(&pose)) own->torn++;
            if (pose.number < own->newest) own->backwards++;
            own->newest = pose.number;
        }
        own->reads = ++k;
    }
    own->took_ns = bodystream_now_ns() - start_ns;
    return NULL;
}

static int report(const reading *own) {
    printf("%llu %llu %llu %.1f %llu %llu\n", (unsigned long long)own->reads, (unsigned long long)own->torn,
           (unsigned long long)own->busy, own->reads ? (double)own->took_ns / (double)own->reads : 0.0,
           (unsigned long long)own->newest, (unsigned long long)own->backwards);
    fflush(stdout);
    if (own->result != BODYSTREAM_OK) fprintf(stderr, "%s\n", bodystream_explain(own->result));
    return own->result == BODYSTREAM_OK ? 0 : 1;
}

static int attach(const char *name, uint64_t reads) {
    bodystream_reader reader;
    reading own;
    memset(&own, 0, sizeof own);
    if (bodystream_open(name, &reader) != BODYSTREAM_OK) {
        fprintf(stderr, "%s\n", reader.message);
        return 1;
    }
    own.reader = &reader;
    own.reads = reads;
    read_poses(&own);
    bodystream_close(&reader);
    return report(&own);
}

static int surfaces(const char *name, uint64_t reads) {
    bodystream_reader reader;
    bodystream_surface surface;
    reading own;
    uint64_t k, i;
    int64_t start_ns = bodystream_now_ns();
    memset(&own, 0, sizeof own);
    if (bodystream_open(name, &reader) != BODYSTREAM_OK || bodystream_make_surface(&reader, &surface) != BODYSTREAM_OK) {
        fprintf(stderr, "%s\n", reader.message);
        return 1;
    }
    for (k = 0; k < reads;) {
        float wanted;
        int bad = 0;
        own.result = bodystream_read_surface(&reader, &surface);
        if (own.result == BODYSTREAM_NOTHING_YET) continue;
        if (own.result == BODYSTREAM_BUSY) own.busy++;
        else if (own.result != BODYSTREAM_OK) break;
        else {
            wanted = mark(surface.info.number);
            bad |= surface.info.topology != surface.info.number;
            for (i = 0; i < 3 * (uint64_t)surface.info.vertex_count; i++)
                bad |= surface.vertices_m[i] != wanted || surface.normals[i] != wanted;
            for (i = 0; i < surface.info.vertex_count; i++) bad |= surface.colours[4 * i] != surface.info.number % 251;
            for (i = 0; i < 3 * (uint64_t)surface.info.face_count; i++) bad |= surface.faces[i] != surface.info.number % 251;
            own.torn += (uint64_t)bad;
            own.newest = surface.info.number;
        }
        own.reads = ++k;
    }
    own.took_ns = bodystream_now_ns() - start_ns;
    bodystream_free_surface(&surface);
    bodystream_close(&reader);
    return report(&own);
}

/* -- A writer of its own, which keeps to the header's rules. ---------------------------------------------------------- */

static void put(void *address, uint64_t value) { __atomic_store_n((uint64_t *)address, value, __ATOMIC_RELEASE); }

static void put_all(void *to, const void *from, size_t bytes) {
    size_t k;
    for (k = 0; k < bytes; k += 8) {
        uint64_t word;
        memcpy(&word, (const uint8_t *)from + k, 8);
        put((uint8_t *)to + k, word);
    }
}

typedef struct {
    bodystream_header *header;
    uint64_t hz;
    uint64_t stop;
} writing;

static void *write_poses(void *argument) {
    writing *own = (writing *)argument;
    bodystream_pose pose;
    uint64_t number = 0;
    memset(&pose, 0, sizeof pose);
    while (!__atomic_load_n(&own->stop, __ATOMIC_ACQUIRE)) {
        uint8_t *slot;
        float *numbers = (float *)pose.joints;
        size_t k;
        number++;
        for (k = 0; k < BODYSTREAM_JOINTS * sizeof(bodystream_joint) / sizeof(float); k++) numbers[k] = mark(number);
        pose.number = number;
        pose.sample_ns = (int64_t)number;
        pose.joint_count = BODYSTREAM_JOINTS;
#ifdef BROKEN_WRITER
        slot = (uint8_t *)own->header + own->header->pose_offset;
        put(slot, 2); /* always the same slot and the same number: nobody can tell that it is being written */
        pose.number = number;
        put_all(slot + offsetof(bodystream_pose_slot, pose), &pose, sizeof pose);
        put(&own->header->pose_number, 1);
#else
        slot = (uint8_t *)own->header + own->header->pose_offset + (number - 1) % SLOTS * sizeof(bodystream_pose_slot);
        put(slot, 2 * number - 1);
        put_all(slot + offsetof(bodystream_pose_slot, pose), &pose, sizeof pose);
        put(slot, 2 * number);
        put(&own->header->pose_number, number);
#endif
        put(&own->header->heartbeat_ns, (uint64_t)bodystream_now_ns());
        if (own->hz > 0) {
            struct timespec pause = {0, (long)(1000000000 / own->hz)};
            nanosleep(&pause, NULL);
        }
    }
    return NULL;
}

static int threads(uint64_t reads, int readers, uint64_t hz) {
    size_t bytes = sizeof(bodystream_header) + SLOTS * sizeof(bodystream_pose_slot);
    bodystream_header *header = (bodystream_header *)calloc(1, bytes + 64);
    bodystream_reader reader;
    reading each[16];
    writing writer;
    pthread_t threads_of[16], writing_thread;
    int k, code = 0;
    header->abi = BODYSTREAM_ABI;
    header->header_bytes = sizeof *header;
    header->total_bytes = bytes;
    header->session = 1;
    header->joint_count = BODYSTREAM_JOINTS;
    header->offers = BODYSTREAM_OFFERS_POSES;
    header->pose_offset = sizeof *header;
    header->pose_stride = sizeof(bodystream_pose_slot);
    header->pose_slots = SLOTS;
    header->heartbeat_ns = bodystream_now_ns();
    memcpy(header->magic, BODYSTREAM_MAGIC, 8);
    memset(&reader, 0, sizeof reader);
    if (bodystream_attach(header, bytes, &reader) != BODYSTREAM_OK) {
        fprintf(stderr, "%s\n", reader.message);
        return 1;
    }
    memset(each, 0, sizeof each);
    writer.header = header;
    writer.hz = hz;
    writer.stop = 0;
    pthread_create(&writing_thread, NULL, write_poses, &writer);
    for (k = 0; k < readers; k++) {
        each[k].reader = &reader;
        each[k].reads = reads;
        pthread_create(&threads_of[k], NULL, read_poses, &each[k]);
    }
    for (k = 0; k < readers; k++) {
        pthread_join(threads_of[k], NULL);
        code |= report(&each[k]);
    }
    __atomic_store_n(&writer.stop, 1, __ATOMIC_RELEASE);
    pthread_join(writing_thread, NULL);
    free(header);
    return code;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "attach") == 0) return attach(argv[2], (uint64_t)strtoull(argv[3], NULL, 10));
    if (argc == 4 && strcmp(argv[1], "surfaces") == 0) return surfaces(argv[2], (uint64_t)strtoull(argv[3], NULL, 10));
    if (argc == 5 && strcmp(argv[1], "threads") == 0)
        return threads((uint64_t)strtoull(argv[2], NULL, 10), atoi(argv[3]), (uint64_t)strtoull(argv[4], NULL, 10));
    fprintf(stderr, "see the head of this file\n");
    return 2;
}
