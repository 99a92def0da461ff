/**
 * A recording in figures, as `bench/recording.ts` tells them, to which the events of `query-events.ts` are fitted: 340,787
 * events in 990 seconds of one host with all sources on, out of 40 minutes on 2026-11-22 without a storm of created and
 * removed files and without an agent's start. Software was built and tested on its two cores, two further stacks of this
 * software ran there, and a script did what servers do over a day: jobs of cron, sudo, su and sessions of sshd through PAM, units of systemd that were started and stopped, edited configuration, rotated logs,
 * packages, requests over loopback, temporary files, messages of applications. A day of 24 hours was not recorded: of
 * how much comes at which hour this says nothing.
 *
 * Topics with fewer than 180 events are left out, together 896 of them.
 */
export interface RecordedTopic {
  readonly events: number;
  /** Of an event in a sorted file of this topic alone, as compaction writes one. */
  readonly bytes: number;
  /** Different values of a column. */
  readonly different: Readonly<Record<string, number>>;
}

export const RECORDED: Readonly<Record<string, RecordedTopic>> = {
  "process/setuid": {
    events: 51814,
    bytes: 7.3,
    different: { user: 16, process_id: 5921, parent_process_id: 3622, exe: 16, detail: 272 },
  },
  "file/create": {
    events: 44579,
    bytes: 40.2,
    different: {
      user: 6,
      process_id: 1668,
      parent_process_id: 523,
      exe: 51,
      path: 39261,
      detail: 41569,
    },
  },
  "file/rename": {
    events: 42899,
    bytes: 44.9,
    different: {
      user: 4,
      process_id: 898,
      parent_process_id: 220,
      exe: 24,
      path: 36389,
      old_path: 40556,
      detail: 42103,
    },
  },
  "file/write": {
    events: 39155,
    bytes: 29.2,
    different: {
      user: 6,
      process_id: 703,
      parent_process_id: 265,
      exe: 32,
      path: 28252,
      detail: 32610,
    },
  },
  "process/exec": {
    events: 26513,
    bytes: 42.5,
    different: {
      user: 14,
      process_id: 23794,
      parent_process_id: 7379,
      exe: 155,
      cmdline: 5041,
      detail: 15952,
    },
  },
  "process/fork": {
    events: 26303,
    bytes: 20.6,
    different: { user: 12, process_id: 26303, parent_process_id: 8042, exe: 38 },
  },
  "process/exit": {
    events: 26256,
    bytes: 24.7,
    different: { user: 15, process_id: 26255, parent_process_id: 7979, exe: 149, detail: 24106 },
  },
  "network/close": {
    events: 22888,
    bytes: 30.6,
    different: {
      user: 4,
      process_id: 764,
      parent_process_id: 120,
      exe: 15,
      src_port: 9136,
      dst_port: 1955,
      detail: 20196,
    },
  },
  "file/delete": {
    events: 18332,
    bytes: 33.8,
    different: {
      user: 4,
      process_id: 1050,
      parent_process_id: 500,
      exe: 27,
      path: 14268,
      detail: 17925,
    },
  },
  "network/connect": {
    events: 10577,
    bytes: 16.0,
    different: {
      process_id: 707,
      parent_process_id: 108,
      exe: 11,
      src_port: 7543,
      dst_port: 1965,
      detail: 164,
    },
  },
  "network/accept": {
    events: 9411,
    bytes: 18.3,
    different: { process_id: 95, parent_process_id: 43, exe: 9, src_port: 6826, dst_port: 1951 },
  },
  "network/listen": {
    events: 3683,
    bytes: 16.5,
    different: { process_id: 120, parent_process_id: 54, exe: 10, src_port: 2266 },
  },
  "file/change": {
    events: 3349,
    bytes: 164.2,
    different: {
      process_id: 176,
      parent_process_id: 10,
      exe: 8,
      path: 124,
      old_path: 1330,
      detail: 3349,
    },
  },
  "file/link": {
    events: 3010,
    bytes: 60.2,
    different: { process_id: 474, parent_process_id: 34, exe: 9, path: 2797, detail: 3010 },
  },
  "service/change": { events: 1878, bytes: 9.5, different: { unit: 96 } },
  "auth/sudo": { events: 961, bytes: 16.4, different: { user: 6, cmdline: 7 } },
  "app/shop/order/paid": {
    events: 933,
    bytes: 28.7,
    different: { user: 6, src_port: 728, detail: 931 },
  },
  "app/bank/order/paid": {
    events: 922,
    bytes: 28.6,
    different: { user: 6, src_port: 720, detail: 919 },
  },
  "app/shop/transfer/done": {
    events: 901,
    bytes: 28.9,
    different: { user: 6, src_port: 686, detail: 896 },
  },
  "app/shop/user/login": {
    events: 898,
    bytes: 29.0,
    different: { user: 6, src_port: 711, detail: 894 },
  },
  "app/bank/transfer/done": {
    events: 895,
    bytes: 29.0,
    different: { user: 6, src_port: 698, detail: 892 },
  },
  "app/bank/user/login": {
    events: 890,
    bytes: 29.1,
    different: { user: 6, src_port: 708, detail: 885 },
  },
  "auth/su": { events: 851, bytes: 17.8, different: {} },
  "auth/failure": { events: 738, bytes: 31.9, different: { user: 11, src_port: 731, detail: 120 } },
  "auth/login": { events: 444, bytes: 46.0, different: { user: 9, src_port: 411, detail: 189 } },
  "auth/logout": { events: 442, bytes: 41.5, different: { user: 9, detail: 131 } },
  "service/start": { events: 187, bytes: 43.5, different: { unit: 49 } },
  "service/stop": { events: 182, bytes: 44.3, different: { unit: 48 } },
};
