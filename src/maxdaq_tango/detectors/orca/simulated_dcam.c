/* A library with the interface of Hamamatsu's libdcamapi.so.4 for a camera that is another process.
 *
 * What the library of a real camera does on the host is done here: buffers, the transfer count, waits, time-outs, aborts,
 * lost frames, the state of a capture. Everything else (properties, limits, exposures, pixels) is asked of the camera,
 * `simulator_server.py`, over two TCP connections: one of requests and answers, one of frames. The messages are described
 * in `simulator_wire.py`. The camera's address is the text HOST:PORT in $MAXDAQ_SIMULATED_DCAM, else in the file
 * `camera` beside this library.
 *
 * One thread for each open camera reads frames into the buffers. One mutex guards a camera; a second one keeps a request
 * and its answer together. Longer than other files of this project because a C library is one file.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
typedef int32_t int32;

enum {
    OK = 1,
    BUSY = (int)0x80000101, ABORTED = (int)0x80000102, NOTREADY = (int)0x80000103, NOTSTABLE = (int)0x80000104,
    TIMED_OUT = (int)0x80000106, NOTBUSY = (int)0x80000107, NOMEMORY = (int)0x80000203, NOCAMERA = (int)0x80000206,
    LOSTFRAME = (int)0x80000301, INVALIDCAMERA = (int)0x80000806, INVALIDHANDLE = (int)0x80000807,
    INVALIDPARAM = (int)0x80000808, INVALIDFRAMEINDEX = (int)0x80000833, NOTSUPPORT = (int)0x80000f03,
    UNLOADED = (int)0x80000f04, FAILREAD = (int)0x83001002, INVALIDWAIT = (int)0x84002001
};
enum { ST_ERROR = 0, ST_BUSY = 1, ST_READY = 2, ST_STABLE = 3 };
enum { EV_TRANSFERRED = 1, EV_FRAMEREADY = 2, EV_CYCLEEND = 4, EV_EXPOSUREEND = 8, EV_STOPPED = 16 };
enum { OP_HELLO = 1, OP_ATTR, OP_GET, OP_SET, OP_QUERY, OP_NEXT, OP_NAME, OP_TEXT, OP_STRING, OP_BUFFERS, OP_START,
       OP_STOP, OP_TRIGGER, OP_STATUS };
enum { FLAG_LOST = 1, FLAG_END = 2 };
enum { MOST_WAITS = 16, CONNECT_MS = 3000, ANSWER_S = 60 };
#define INFINITE ((int)0x80000000)

/* ---- the vendor's structures ---- */
typedef struct { int32 size, count, reserved, optionbytes; const int32 *option; const void *guid; } Init;
typedef struct { int32 size, index; void *camera; } Open;
typedef struct { int32 size, domain, capflag, kind; } Capability;
typedef struct { int32 size, string; char *text; int32 textbytes; } String;
typedef struct { int32 size, property, option, r1, attribute, group, unit, attribute2;
                 double minimum, maximum, step, preset; int32 channels, r3, views, elements, base, elementstep; } Attr;
typedef struct { int32 size, property; double value; char *text; int32 textbytes; } ValueText;
typedef struct { int32 size, kind; void **buffer; int32 count; } Attach;
typedef struct { int32 size, kind, newest, count; } Transfer;
typedef struct { int32 size, kind, option, index; void *buffer; int32 rowbytes, type, width, height, left, top;
                 uint32_t sec; int32 usec, framestamp, camerastamp; } Frame;
typedef struct { int32 size, events; void *wait, *camera; } WaitOpen;
typedef struct { int32 size, happened, mask, timeout; } WaitStart;

/* ---- what travels to the camera and back ---- */
typedef struct { uint32_t op; int32 id, option, reserved; double value; } Request;
typedef struct { int32 code, nbytes; double value; } Reply;
typedef struct { int32 attribute, unit; double minimum, maximum, step, preset; } AttrReply;
typedef struct { int32 framebytes, rowbytes, type, width, height, left, top, reserved; } Format;
typedef struct { uint32_t capture, flags; int32 framestamp, camerastamp; uint32_t sec; int32 usec; uint32_t nbytes,
                 reserved; } FrameHead;

typedef struct { int32 framestamp, camerastamp; uint32_t sec; int32 usec; int filled; } Stamp;
typedef struct Camera Camera;
typedef struct { Camera *camera; int used, waiting, aborted; int32 pending; } Wait;
struct Camera {
    pthread_mutex_t lock, asking;
    pthread_cond_t changed;
    pthread_t reader;
    int control, frames, open, gone, status, attached, writing, lost;
    void **buffer;
    Stamp *stamp;
    int32 count, newest, transferred;
    uint32_t capture;
    Format format;
    Wait wait[MOST_WAITS];
};

static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;
static Camera *the_camera;
static int initialised;
static char address[256];

/* ---- sockets ---- */
static int exchange(int fd, void *data, size_t nbytes, int sending) {
    char *at = data;
    while (nbytes) {
        ssize_t n = sending ? send(fd, at, nbytes, MSG_NOSIGNAL) : recv(fd, at, nbytes, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return 0;
        at += n;
        nbytes -= (size_t)n;
    }
    return 1;
}

static int find_address(void) {
    const char *given = getenv("MAXDAQ_SIMULATED_DCAM");
    if (given && *given) {
        snprintf(address, sizeof address, "%s", given);
    } else {
        Dl_info here;
        char path[4096];
        if (!dladdr((void *)find_address, &here) || !here.dli_fname) return 0;
        const char *slash = strrchr(here.dli_fname, '/');
        snprintf(path, sizeof path, "%.*scamera", slash ? (int)(slash - here.dli_fname) + 1 : 0, here.dli_fname);
        FILE *file = fopen(path, "r");
        if (!file) return 0;
        char *line = fgets(address, sizeof address, file);
        fclose(file);
        if (!line) return 0;
    }
    address[strcspn(address, "\r\n")] = 0;
    return strrchr(address, ':') != NULL;
}

static int ask(int fd, Request request, Reply *reply, void *payload, size_t room) {
    char rest[256];
    if (!exchange(fd, &request, sizeof request, 1) || !exchange(fd, reply, sizeof *reply, 0)) return 0;
    size_t left = reply->nbytes > 0 ? (size_t)reply->nbytes : 0, part = left < room ? left : room;
    if (part && !exchange(fd, payload, part, 0)) return 0;
    for (left -= part; left; left -= part) {
        part = left < sizeof rest ? left : sizeof rest;
        if (!exchange(fd, rest, part, 0)) return 0;
    }
    return 1;
}

/* Connect and say what for: 0 = to look whether a camera is there, 1 = requests, 2 = frames. -1 when nobody is there. */
static int dial(int purpose, int32 *code) {
    char host[256];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found, *each;
    snprintf(host, sizeof host, "%s", address);
    char *colon = strrchr(host, ':');
    *colon = 0;
    *code = NOCAMERA;
    if (getaddrinfo(host, colon + 1, &hints, &found)) return -1;
    int fd = -1;
    for (each = found; each && fd < 0; each = each->ai_next) {
        fd = socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, each->ai_protocol);
        if (fd < 0) continue;
        int error = 0, refused = connect(fd, each->ai_addr, each->ai_addrlen);
        socklen_t length = sizeof error;
        if (refused && errno == EINPROGRESS) {
            struct pollfd ready = {.fd = fd, .events = POLLOUT};
            refused = poll(&ready, 1, CONNECT_MS) != 1 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) || error;
        }
        if (refused) { close(fd); fd = -1; }
    }
    freeaddrinfo(found);
    if (fd < 0) return -1;
    int one = 1, room = 1 << 20;
    struct timeval patience = {.tv_sec = ANSWER_S};
    fcntl(fd, F_SETFL, 0); /* it was not to block while it connected */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    Reply reply;
    if (!ask(fd, (Request){.op = OP_HELLO, .id = purpose}, &reply, NULL, 0)) { close(fd); return -1; }
    *code = reply.code;
    if (reply.code != OK) { close(fd); return -1; }
    if (purpose == 2) {
        patience.tv_sec = 0; /* frames may be hours apart */
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    return fd;
}

/* ---- a camera ---- */
static Camera *camera_of(void *handle) {
    pthread_mutex_lock(&library_lock);
    Camera *camera = handle && handle == the_camera && the_camera->open ? the_camera : NULL;
    pthread_mutex_unlock(&library_lock);
    return camera;
}

static void lose(Camera *c) {
    pthread_mutex_lock(&c->lock);
    c->gone = 1;
    c->status = ST_ERROR;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static int32 request(void *handle, Request asked, Reply *reply, void *payload, size_t room) {
    Camera *c = camera_of(handle);
    if (!initialised) return UNLOADED;
    if (!c) return INVALIDHANDLE;
    if (c->gone) return FAILREAD;
    pthread_mutex_lock(&c->asking);
    int done = ask(c->control, asked, reply, payload, room);
    pthread_mutex_unlock(&c->asking);
    if (!done) { lose(c); return FAILREAD; }
    return reply->code;
}

static void happen(Camera *c, int32 events) {
    for (int i = 0; i < MOST_WAITS; i++) c->wait[i].pending |= events;
    pthread_cond_broadcast(&c->changed);
}

static void *read_frames(void *given) {
    Camera *c = given;
    FrameHead head;
    char scratch[65536];
    while (exchange(c->frames, &head, sizeof head, 0)) {
        pthread_mutex_lock(&c->lock);
        int wanted = c->status == ST_BUSY && head.capture == c->capture && c->count > 0;
        if (wanted && head.flags & FLAG_LOST) { c->lost = 1; pthread_cond_broadcast(&c->changed); }
        int into = wanted && head.nbytes && head.nbytes <= (uint32_t)c->format.framebytes;
        int slot = into ? c->transferred % c->count : 0;
        c->writing = into;
        if (into) c->stamp[slot].filled = 0;
        pthread_mutex_unlock(&c->lock);
        size_t left = head.nbytes;
        if (into) {
            if (!exchange(c->frames, c->buffer[slot], left, 0)) break;
        } else {
            int alive = 1;
            while (left && alive) {
                size_t part = left < sizeof scratch ? left : sizeof scratch;
                alive = exchange(c->frames, scratch, part, 0);
                left -= part;
            }
            if (!alive) break;
        }
        pthread_mutex_lock(&c->lock);
        c->writing = 0;
        if (into && c->status == ST_BUSY && head.capture == c->capture) {
            c->stamp[slot] = (Stamp){head.framestamp, head.camerastamp, head.sec, head.usec, 1};
            c->newest = slot;
            c->transferred++;
            happen(c, EV_TRANSFERRED | EV_FRAMEREADY | EV_EXPOSUREEND);
        }
        if (wanted && head.flags & FLAG_END && c->status == ST_BUSY && head.capture == c->capture) {
            c->status = ST_READY;
            happen(c, EV_CYCLEEND | EV_STOPPED);
        }
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->lock);
    }
    pthread_mutex_lock(&c->lock);
    c->writing = 0;
    pthread_mutex_unlock(&c->lock);
    lose(c);
    return NULL;
}

static void free_buffers(Camera *c) {
    if (!c->attached)
        for (int32 i = 0; i < c->count; i++) free(c->buffer[i]);
    free(c->buffer);
    free(c->stamp);
    c->buffer = NULL;
    c->stamp = NULL;
    c->count = 0;
}

static void close_camera(Camera *c) {
    c->open = 0;
    shutdown(c->control, SHUT_RDWR);
    shutdown(c->frames, SHUT_RDWR);
    pthread_join(c->reader, NULL);
    close(c->control);
    close(c->frames);
    free_buffers(c);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->asking);
    free(c);
}

/* ---- system and device ---- */
API int32 dcamapi_init(Init *param) {
    if (!param || param->size < (int32)sizeof *param) return INVALIDPARAM;
    int32 code = OK, count = 0;
    pthread_mutex_lock(&library_lock);
    if (find_address()) {
        int fd = dial(0, &code);
        if (fd >= 0) { close(fd); count = 1; }
    } else {
        code = NOCAMERA;
    }
    initialised = count > 0;
    pthread_mutex_unlock(&library_lock);
    param->count = count;
    return count ? OK : code;
}

API int32 dcamapi_uninit(void) {
    pthread_mutex_lock(&library_lock);
    Camera *c = the_camera;
    the_camera = NULL;
    initialised = 0;
    pthread_mutex_unlock(&library_lock);
    if (c) close_camera(c);
    return OK;
}

API int32 dcamdev_open(Open *param) {
    if (!param || param->size < (int32)sizeof *param) return INVALIDPARAM;
    if (!initialised) return UNLOADED;
    if (param->index != 0) return INVALIDCAMERA;
    int32 code;
    pthread_mutex_lock(&library_lock);
    if (the_camera) { pthread_mutex_unlock(&library_lock); return BUSY; }
    int control = dial(1, &code), frames = control < 0 ? -1 : dial(2, &code);
    Camera *c = frames < 0 ? NULL : calloc(1, sizeof *c);
    if (!c) {
        if (control >= 0) close(control);
        pthread_mutex_unlock(&library_lock);
        return code == OK ? NOMEMORY : code;
    }
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->asking, NULL);
    c->control = control;
    c->frames = frames;
    c->status = ST_STABLE;
    c->newest = -1;
    c->open = 1;
    pthread_create(&c->reader, NULL, read_frames, c);
    the_camera = c;
    pthread_mutex_unlock(&library_lock);
    param->camera = c;
    return OK;
}

API int32 dcamdev_close(void *h) {
    pthread_mutex_lock(&library_lock);
    Camera *c = h && h == the_camera ? the_camera : NULL;
    if (c) the_camera = NULL;
    pthread_mutex_unlock(&library_lock);
    if (!c) return INVALIDHANDLE;
    close_camera(c);
    return OK;
}

API int32 dcamdev_getcapability(void *h, Capability *param) {
    if (!camera_of(h)) return INVALIDHANDLE;
    if (!param || param->domain != 0) return INVALIDPARAM;
    param->capflag = 1 | 2 | 4; /* frame, time and camera stamps */
    return OK;
}

API int32 dcamdev_getstring(void *h, String *param) {
    char text[256] = "";
    Reply reply;
    if (!param || !param->text || param->textbytes < 1) return INVALIDPARAM;
    int32 code = request(h, (Request){.op = OP_STRING, .id = param->string}, &reply, text, sizeof text - 1);
    if (code == OK) snprintf(param->text, (size_t)param->textbytes, "%s", text);
    return code;
}

/* ---- properties ---- */
API int32 dcamprop_getattr(void *h, Attr *param) {
    AttrReply found = {0};
    Reply reply;
    if (!param || param->size < (int32)sizeof *param) return INVALIDPARAM;
    int32 code = request(h, (Request){.op = OP_ATTR, .id = param->property}, &reply, &found, sizeof found);
    if (code != OK) return code;
    int32 size = param->size, property = param->property, option = param->option;
    *param = (Attr){.size = size, .property = property, .option = option, .attribute = found.attribute,
                    .unit = found.unit, .minimum = found.minimum, .maximum = found.maximum, .step = found.step,
                    .preset = found.preset};
    return OK;
}

static int32 value_call(void *h, uint32_t op, int32 id, int32 option, double *value) {
    Reply reply;
    if (!value) return INVALIDPARAM;
    int32 code = request(h, (Request){.op = op, .id = id, .option = option, .value = *value}, &reply, NULL, 0);
    if (code == OK) *value = reply.value;
    return code;
}
API int32 dcamprop_getvalue(void *h, int32 id, double *value) { return value_call(h, OP_GET, id, 0, value); }
API int32 dcamprop_setvalue(void *h, int32 id, double value) { return value_call(h, OP_SET, id, 0, &value); }
API int32 dcamprop_setgetvalue(void *h, int32 id, double *value, int32 option) {
    return value_call(h, OP_SET, id, option, value);
}
API int32 dcamprop_queryvalue(void *h, int32 id, double *value, int32 option) {
    return value_call(h, OP_QUERY, id, option, value);
}
API int32 dcamprop_getnextid(void *h, int32 *id, int32 option) {
    Reply reply;
    if (!id) return INVALIDPARAM;
    int32 code = request(h, (Request){.op = OP_NEXT, .id = *id, .option = option}, &reply, NULL, 0);
    if (code == OK) *id = (int32)reply.value;
    return code;
}

static int32 text_call(void *h, Request asked, char *text, int32 room) {
    char found[256] = "";
    Reply reply;
    if (!text || room < 1) return INVALIDPARAM;
    int32 code = request(h, asked, &reply, found, sizeof found - 1);
    if (code == OK) snprintf(text, (size_t)room, "%s", found);
    return code;
}
API int32 dcamprop_getname(void *h, int32 id, char *text, int32 room) {
    return text_call(h, (Request){.op = OP_NAME, .id = id}, text, room);
}
API int32 dcamprop_getvaluetext(void *h, ValueText *param) {
    if (!param) return INVALIDPARAM;
    return text_call(h, (Request){.op = OP_TEXT, .id = param->property, .value = param->value}, param->text,
                     param->textbytes);
}

/* ---- buffers ---- */
static int32 take_buffers(void *h, void **given, int32 count) {
    Camera *c = camera_of(h);
    Reply reply;
    Format format = {0};
    if (!c) return INVALIDHANDLE;
    if (c->gone) return FAILREAD;
    if (count < 1) return INVALIDPARAM;
    if (c->status != ST_STABLE) return c->status == ST_BUSY ? BUSY : NOTSTABLE;
    int32 code = request(h, (Request){.op = OP_BUFFERS, .id = 1}, &reply, &format, sizeof format);
    if (code != OK) return code;
    if (reply.nbytes < (int32)sizeof format || format.framebytes < 1) {
        request(h, (Request){.op = OP_BUFFERS, .id = 0}, &reply, NULL, 0);
        return FAILREAD; /* nobody knows how large a buffer has to be */
    }
    pthread_mutex_lock(&c->lock);
    c->buffer = calloc((size_t)count, sizeof *c->buffer);
    c->stamp = calloc((size_t)count, sizeof *c->stamp);
    c->attached = given != NULL;
    c->count = c->buffer && c->stamp ? count : 0;
    for (int32 i = 0; i < c->count; i++) {
        c->buffer[i] = given ? given[i] : malloc((size_t)format.framebytes);
        if (!c->buffer[i]) code = given ? INVALIDPARAM : NOMEMORY;
    }
    if (!c->count) code = NOMEMORY;
    if (code != OK) free_buffers(c);
    else { c->format = format; c->status = ST_READY; c->newest = -1; c->transferred = 0; }
    pthread_mutex_unlock(&c->lock);
    if (code != OK) request(h, (Request){.op = OP_BUFFERS, .id = 0}, &reply, NULL, 0);
    return code;
}
API int32 dcambuf_alloc(void *h, int32 count) { return take_buffers(h, NULL, count); }
API int32 dcambuf_attach(void *h, const Attach *param) {
    if (!param || param->size < (int32)sizeof *param || !param->buffer) return INVALIDPARAM;
    if (param->kind != 0) return NOTSUPPORT; /* stamps are read with dcambuf_lockframe */
    return take_buffers(h, param->buffer, param->count);
}
API int32 dcambuf_release(void *h, int32 kind) {
    Camera *c = camera_of(h);
    Reply reply;
    if (!c) return INVALIDHANDLE;
    if (kind != 0) return INVALIDPARAM;
    pthread_mutex_lock(&c->lock);
    int status = c->status;
    while (c->writing && status != ST_BUSY) pthread_cond_wait(&c->changed, &c->lock);
    if (status != ST_BUSY) {
        free_buffers(c);
        if (status == ST_READY) c->status = ST_STABLE;
    }
    pthread_mutex_unlock(&c->lock);
    if (status == ST_BUSY) return BUSY;
    return status == ST_READY ? request(h, (Request){.op = OP_BUFFERS, .id = 0}, &reply, NULL, 0) : OK;
}

static int32 look(Camera *c, Frame *frame) {
    int32 at = frame->index == -1 ? c->newest : frame->index;
    if (!c->count) return NOTREADY;
    if (at >= c->count || frame->index < -1) return INVALIDFRAMEINDEX;
    if (at < 0 || !c->stamp[at].filled) return BUSY;
    frame->index = at;
    frame->rowbytes = c->format.rowbytes;
    frame->type = c->format.type;
    frame->width = c->format.width;
    frame->height = c->format.height;
    frame->left = c->format.left;
    frame->top = c->format.top;
    frame->sec = c->stamp[at].sec;
    frame->usec = c->stamp[at].usec;
    frame->framestamp = c->stamp[at].framestamp;
    frame->camerastamp = c->stamp[at].camerastamp;
    return OK;
}
API int32 dcambuf_lockframe(void *h, Frame *frame) {
    Camera *c = camera_of(h);
    if (!c) return INVALIDHANDLE;
    if (!frame || frame->size < (int32)sizeof *frame) return INVALIDPARAM;
    pthread_mutex_lock(&c->lock);
    int32 code = look(c, frame);
    if (code == OK) frame->buffer = c->buffer[frame->index];
    pthread_mutex_unlock(&c->lock);
    return code;
}
API int32 dcambuf_copyframe(void *h, Frame *frame) {
    Camera *c = camera_of(h);
    if (!c) return INVALIDHANDLE;
    if (!frame || frame->size < (int32)sizeof *frame || !frame->buffer) return INVALIDPARAM;
    pthread_mutex_lock(&c->lock);
    int32 code = c->attached ? NOTSUPPORT : look(c, frame);
    if (code == OK) memcpy(frame->buffer, c->buffer[frame->index], (size_t)c->format.framebytes);
    pthread_mutex_unlock(&c->lock);
    return code;
}
API int32 dcambuf_copymetadata(void *h, void *head) { (void)h; (void)head; return NOTSUPPORT; }

/* ---- capture ---- */
API int32 dcamcap_start(void *h, int32 mode) {
    Camera *c = camera_of(h);
    Reply reply;
    if (!c) return INVALIDHANDLE;
    if (mode != -1 && mode != 0) return INVALIDPARAM;
    pthread_mutex_lock(&c->lock);
    int32 code = c->gone ? FAILREAD : c->status == ST_BUSY ? BUSY : c->status != ST_READY ? NOTREADY : OK;
    if (code == OK) {
        /* Busy before the camera is told: a frame may come before its answer does. */
        c->status = ST_BUSY;
        c->capture++;
        c->newest = -1;
        c->transferred = 0;
        c->lost = 0;
        for (int32 i = 0; i < c->count; i++) c->stamp[i].filled = 0;
        for (int i = 0; i < MOST_WAITS; i++) c->wait[i].pending = 0;
    }
    int32 count = mode == 0 ? c->count : 0;
    uint32_t capture = c->capture;
    pthread_mutex_unlock(&c->lock);
    if (code != OK) return code;
    code = request(h, (Request){.op = OP_START, .id = (int32)capture, .option = count}, &reply, NULL, 0);
    if (code != OK) {
        pthread_mutex_lock(&c->lock);
        if (!c->gone) c->status = ST_READY;
        pthread_mutex_unlock(&c->lock);
    }
    return code;
}
API int32 dcamcap_stop(void *h) {
    Camera *c = camera_of(h);
    Reply reply;
    if (!c) return INVALIDHANDLE;
    if (c->gone) return FAILREAD;
    pthread_mutex_lock(&c->lock);
    int32 code = c->status == ST_BUSY ? OK : c->status == ST_READY ? NOTBUSY : NOTREADY;
    if (code == OK) { c->status = ST_READY; happen(c, EV_STOPPED); }
    pthread_mutex_unlock(&c->lock);
    return code == OK ? request(h, (Request){.op = OP_STOP}, &reply, NULL, 0) : OK;
}
API int32 dcamcap_status(void *h, int32 *status) {
    Camera *c = camera_of(h);
    if (!c) return INVALIDHANDLE;
    if (!status) return INVALIDPARAM;
    Reply reply;
    int32 code = request(h, (Request){.op = OP_STATUS}, &reply, NULL, 0);
    if (code != OK) return code;
    pthread_mutex_lock(&c->lock);
    *status = reply.value == ST_ERROR ? ST_ERROR : c->status;
    pthread_mutex_unlock(&c->lock);
    return OK;
}
API int32 dcamcap_transferinfo(void *h, Transfer *param) {
    Camera *c = camera_of(h);
    if (!c) return INVALIDHANDLE;
    if (!param || param->kind != 0) return INVALIDPARAM;
    pthread_mutex_lock(&c->lock);
    int32 code = c->gone ? FAILREAD : c->count ? OK : NOTREADY;
    param->newest = c->newest;
    param->count = c->transferred;
    pthread_mutex_unlock(&c->lock);
    return code;
}
API int32 dcamcap_firetrigger(void *h, int32 kind) {
    Camera *c = camera_of(h);
    Reply reply;
    if (!c) return INVALIDHANDLE;
    if (kind != 0) return INVALIDPARAM;
    if (c->status != ST_BUSY) return NOTBUSY;
    return request(h, (Request){.op = OP_TRIGGER}, &reply, NULL, 0);
}
API int32 dcamcap_record(void *h, void *recorder) { (void)h; (void)recorder; return NOTSUPPORT; }

/* ---- waiting ---- */
API int32 dcamwait_open(WaitOpen *param) {
    if (!param || param->size < (int32)sizeof *param) return INVALIDPARAM;
    Camera *c = camera_of(param->camera);
    if (!c) return INVALIDHANDLE;
    pthread_mutex_lock(&c->lock);
    Wait *found = NULL;
    for (int i = 0; i < MOST_WAITS && !found; i++)
        if (!c->wait[i].used) found = &c->wait[i];
    if (found) *found = (Wait){.camera = c, .used = 1};
    pthread_mutex_unlock(&c->lock);
    param->events = EV_TRANSFERRED | EV_FRAMEREADY | EV_CYCLEEND | EV_EXPOSUREEND | EV_STOPPED;
    param->wait = found;
    return found ? OK : NOMEMORY;
}

static Wait *wait_of(void *handle, Camera **camera) {
    pthread_mutex_lock(&library_lock);
    Camera *c = the_camera;
    pthread_mutex_unlock(&library_lock);
    for (int i = 0; c && i < MOST_WAITS; i++)
        if (handle == &c->wait[i] && c->wait[i].used) { *camera = c; return &c->wait[i]; }
    return NULL;
}
API int32 dcamwait_close(void *handle) {
    Camera *c;
    Wait *wait = wait_of(handle, &c);
    if (!wait) return INVALIDWAIT;
    pthread_mutex_lock(&c->lock);
    int32 code = wait->waiting ? BUSY : OK;
    if (code == OK) wait->used = 0;
    pthread_mutex_unlock(&c->lock);
    return code;
}
API int32 dcamwait_start(void *handle, WaitStart *param) {
    Camera *c;
    Wait *wait = wait_of(handle, &c);
    if (!wait) return INVALIDWAIT;
    if (!param || param->size < (int32)sizeof *param || !param->mask) return INVALIDPARAM;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    if (param->timeout != INFINITE && param->timeout > 0) {
        until.tv_sec += param->timeout / 1000;
        until.tv_nsec += (long)(param->timeout % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) { until.tv_sec++; until.tv_nsec -= 1000000000; }
    }
    int32 code = OK;
    pthread_mutex_lock(&c->lock);
    wait->waiting++;
    wait->aborted = 0;
    while (1) {
        if (c->gone) { code = FAILREAD; break; }
        if (wait->aborted) { wait->aborted = 0; code = ABORTED; break; }
        if (c->lost) { c->lost = 0; code = LOSTFRAME; break; }
        if ((param->happened = wait->pending & param->mask)) { wait->pending &= ~param->mask; break; }
        int late = 0;
        if (param->timeout == INFINITE) pthread_cond_wait(&c->changed, &c->lock);
        else late = pthread_cond_timedwait(&c->changed, &c->lock, &until) == ETIMEDOUT;
        if (late && !wait->aborted && !c->lost && !(wait->pending & param->mask)) { code = TIMED_OUT; break; }
    }
    wait->waiting--;
    pthread_mutex_unlock(&c->lock);
    return code;
}
API int32 dcamwait_abort(void *handle) {
    Camera *c;
    Wait *wait = wait_of(handle, &c);
    if (!wait) return INVALIDWAIT;
    pthread_mutex_lock(&c->lock);
    wait->aborted = 1;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    return OK;
}

/* ---- what this camera does not have; programs look for every name when they load the library ---- */
#define ABSENT(name) API int32 name(void *a, void *b) { (void)a; (void)b; return NOTSUPPORT; }
ABSENT(dcamdev_showpanel) ABSENT(dcamdev_setdata) ABSENT(dcamdev_getdata)
ABSENT(dcamrec_open) ABSENT(dcamrec_openA) ABSENT(dcamrec_openW) ABSENT(dcamrec_close) ABSENT(dcamrec_lockframe)
ABSENT(dcamrec_copyframe) ABSENT(dcamrec_writemetadata) ABSENT(dcamrec_lockmetadata) ABSENT(dcamrec_copymetadata)
ABSENT(dcamrec_lockmetadatablock) ABSENT(dcamrec_copymetadatablock) ABSENT(dcamrec_pause) ABSENT(dcamrec_resume)
ABSENT(dcamrec_status)
