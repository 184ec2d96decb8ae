// An external delegate of TensorFlow Lite that takes operators and computes nothing.
//
// Options: refuses = builtin codes that it leaves, such as "0,3"; fails = a text that it reports instead of being made.
// The structures are what TensorFlow Lite's C interface lays down, as far as they are used here.

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int size; int data[]; } IntArray;
typedef struct Node Node;
typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, Node *);
  int (*invoke)(Context *, Node *);
  const char *(*profiling_string)(const Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  uint64_t unused[12];  // more than any release has behind it
} Kernel;

struct Context {
  size_t tensors_size;
  int (*get_execution_plan)(Context *, IntArray **);
  void *tensors;
  void *implementation;
  int (*resize_tensor)(Context *, void *, IntArray *);
  void (*report_error)(Context *, const char *, ...);
  int (*add_tensors)(Context *, int, int *);
  int (*get_node)(Context *, int, Node **, Kernel **);
  int (*replace_nodes)(Context *, Kernel, const IntArray *, Delegate *);
};

struct Delegate {
  void *data;
  int (*prepare)(Context *, Delegate *);
  void *buffers[3];
  int64_t flags;
  void *builder;
  int refused[16];
  int refused_count;
};

static int fine(Context *context, Node *node) { return 0; }

static int takes(const Delegate *delegate, int code) {
  for (int i = 0; i < delegate->refused_count; i++)
    if (delegate->refused[i] == code) return 0;
  return 1;
}

static int prepare(Context *context, Delegate *delegate) {
  IntArray *plan, *taken;
  if (context->get_execution_plan(context, &plan)) return 1;
  taken = malloc(sizeof(IntArray) + plan->size * sizeof(int));
  taken->size = 0;
  for (int i = 0; i < plan->size; i++) {
    Node *node;
    Kernel *kernel;
    if (context->get_node(context, plan->data[i], &node, &kernel)) return 1;
    if (takes(delegate, kernel->builtin_code)) taken->data[taken->size++] = plan->data[i];
  }
  Kernel ours = {.prepare = fine, .invoke = fine, .custom_name = "ToyDelegate", .version = 1};
  int status = context->replace_nodes(context, ours, taken, delegate);
  free(taken);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **names, char **values, size_t count, void (*report)(const char *)) {
  Delegate *delegate = calloc(1, sizeof(Delegate));
  delegate->prepare = prepare;
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(names[i], "fails")) {
      report(values[i]);
      free(delegate);
      return NULL;
    }
    char *codes = strdup(values[i]);
    for (char *code = strtok(codes, ","); code; code = strtok(NULL, ","))
      delegate->refused[delegate->refused_count++] = atoi(code);
    free(codes);
  }
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
