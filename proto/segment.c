#define _GNU_SOURCE
#include "proto/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(struct segment_header) <= SEGMENT_ENDPOINTS_OFFSET, "header fits its page");

int geometry_complete(struct segment_geometry *g)
{
    uint64_t control;

    if (g->local_pes > SEGMENT_MAX_PES || g->pes == 0 || g->pes < g->local_pes ||
        g->pes >= C4P_ROUTER || g->first_pe > g->pes - g->local_pes || g->nodes == 0 ||
        g->nodes > SEGMENT_MAX_NODES || g->node >= g->nodes ||
        g->region_size < SEGMENT_MIN_REGION || g->region_size > SEGMENT_MAX_REGION ||
        g->region_size % SEGMENT_REGION_ALIGN != 0) {
        errno = EINVAL;
        return -1;
    }
    g->slots = g->local_pes + 1 + SEGMENT_CLIENT_SLOTS;
    control = SEGMENT_ENDPOINTS_OFFSET + (uint64_t)g->slots * sizeof(struct segment_endpoint) +
              SEGMENT_BUCKETS * sizeof(struct segment_bucket) +
              (g->nodes > 1 ? g->nodes * sizeof(uint32_t) : 0);
    g->regions = (control + SEGMENT_REGION_ALIGN - 1) / SEGMENT_REGION_ALIGN * SEGMENT_REGION_ALIGN;
    g->size = g->regions + g->slots * g->region_size;
    return 0;
}

static int segment_mmap(struct segment *segment, size_t size)
{
    void *base =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, segment->fd, 0);

    if (base == MAP_FAILED)
        return -1;
    (void)madvise(base, size, MADV_DONTDUMP);
    segment->base = base;
    return 0;
}

/* Does the table of first PEs agree with what the geometry says of this node? */
static bool first_pes_valid(const struct segment_geometry *g, const uint32_t *first_pes)
{
    if (g->nodes == 1)
        return true;
    if (first_pes == NULL || first_pes[0] != 0 || first_pes[g->node] != g->first_pe)
        return false;
    for (uint32_t i = 1; i < g->nodes; i++)
        if (first_pes[i] < first_pes[i - 1] || first_pes[i] > g->pes)
            return false;
    return (g->node + 1 < g->nodes ? first_pes[g->node + 1] : g->pes) == g->first_pe + g->local_pes;
}

int segment_create(struct segment *segment, struct segment_geometry *geometry,
                   const uint32_t *first_pes)
{
    struct segment_header *header;
    int saved;

    memset(segment, 0, sizeof(*segment));
    segment->fd = segment->router_wake = -1;
    if (geometry_complete(geometry) != 0)
        return -1;
    if (!first_pes_valid(geometry, first_pes)) {
        errno = EINVAL;
        return -1;
    }
    segment->fd = memfd_create("c4p-segment", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (segment->fd < 0)
        return -1;
    segment->geometry = *geometry;
    /* Nobody may shrink it under a reader: that would be a SIGBUS in c4pd. */
    if (ftruncate(segment->fd, (off_t)geometry->size) != 0 ||
        fcntl(segment->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0 ||
        segment_mmap(segment, geometry->size) != 0) {
        saved = errno;
        segment_close(segment);
        errno = saved;
        return -1;
    }
    header = segment_header(segment);
    header->magic = SEGMENT_MAGIC;
    header->version = SEGMENT_VERSION;
    header->header_size = sizeof(*header);
    header->geometry = *geometry;
    if (geometry->nodes > 1)
        memcpy(segment_first_pes(segment), first_pes, geometry->nodes * sizeof(*first_pes));
    return 0;
}

/* Read the geometry out of a mapped header and make sure that it derives the size the file has. */
static int segment_check(struct segment *segment, uint64_t size)
{
    const struct segment_header *header = segment_header(segment);
    struct segment_geometry written;

    memcpy(&written, &header->geometry, sizeof(written));
    /* What is checked below is the copy, whatever is written to the header meanwhile. */
    __asm__ volatile("" ::: "memory");
    segment->geometry = written;
    if (header->magic != SEGMENT_MAGIC || header->version != SEGMENT_VERSION ||
        header->header_size != sizeof(*header) || geometry_complete(&segment->geometry) != 0 ||
        segment->geometry.size != size ||
        memcmp(&segment->geometry, &written, sizeof(written)) != 0) {
        errno = EBADMSG;
        return -1;
    }
    return 0;
}

int segment_map(struct segment *segment, int fd, int router_wake)
{
    struct stat status;
    int saved;

    memset(segment, 0, sizeof(*segment));
    segment->fd = fd;
    segment->router_wake = router_wake;
    if (fstat(fd, &status) != 0)
        goto error;
    if (status.st_size < SEGMENT_ENDPOINTS_OFFSET) {
        errno = EBADMSG;
        goto error;
    }
    segment->geometry.size = (uint64_t)status.st_size; /* for segment_close() */
    if (segment_mmap(segment, (size_t)status.st_size) != 0)
        goto error;
    if (segment_check(segment, (uint64_t)status.st_size) != 0) {
        segment->geometry.size = (uint64_t)status.st_size;
        goto error;
    }
    return 0;
error:
    saved = errno;
    segment_close(segment);
    errno = saved;
    return -1;
}

void segment_close(struct segment *segment)
{
    if (segment->base != NULL)
        munmap(segment->base, segment->geometry.size);
    if (segment->fd >= 0)
        close(segment->fd);
    if (segment->router_wake >= 0)
        close(segment->router_wake);
    memset(segment, 0, sizeof(*segment));
    segment->fd = segment->router_wake = -1;
}
