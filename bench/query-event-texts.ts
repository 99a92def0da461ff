/**
 * Texts of invented events, by topic: the paths, sentences and details as they were recorded, with as many digits that
 * follow from nothing as there were.
 */

/** SQL of a number below another that follows from the number of the row, or from another column. */
export type Random = (salt: number, below: number | string, of?: string) => string;

/** SQL of a process's number, of the first row that it did and of which of those beside each other it is. */
export function pidSql(first: string, beside: string): string {
  return `(300 + (${first} // 3 * 5 + ${beside}) % 4000000)`;
}

/** SQL of a process's identity: it was started some ticks after the one before. */
export function processText(first: string, beside: string): string {
  return `(boot || '-' || ${pidSql(first, beside)} || '-' ||
    (${first} // 6 + hash(${first} * 8 + ${beside}) % 3))`;
}

/** SQL of columns that several texts of a row have in common. */
export function drawnSql(random: Random): string {
  const pair = "CASE WHEN topic = 'network/close' THEN n // 2 ELSE n END";
  const units =
    "['web', 'api', 'worker', 'cache', 'mail', 'queue', 'index', 'search', 'auth', 'billing', 'report', 'sync']";
  return `32768 + ${random(30, 28_000, pair)} AS peer_port,
    CASE WHEN ${random(31, 4, pair)} < 3 THEN [18080, 18081, 18443][1 + ${random(32, 3, pair)}]
      ELSE 33000 + ${random(33, 12_000, pair)} END AS known_port,
    '10.' || place || '.' || (place * 97 % 256) || '.' || (place * 31 % 254 + 1) AS peer,
    ${units}[1 + ${random(34, 12)}] || CASE topic WHEN 'service/change' THEN '-job-' || ${
    random(35, 8)
  } WHEN 'process/fork' THEN '' ELSE '-' || ${random(35, 4)} END || '.service' AS unit_name,
    CASE topic WHEN 'file/write' THEN ${random(36, 30_000)} WHEN 'file/change' THEN ${
    random(36, 113)
  }
      WHEN 'file/rename' THEN ${random(36, 300)} ELSE ${random(36, 36_000)} END AS file_number,
    ${random(37, 1_000)} AS in_thousand, ${random(38, 1_000_000, pair)} AS duration,
    CASE WHEN n % 2 = 0 THEN 40 + ${random(48, 60, pair)} ELSE ${
    random(49, 20_000, pair)
  } END AS bytes_in,
    CASE WHEN n % 2 = 0 THEN ${random(49, 20_000, pair)} ELSE 40 + ${
    random(48, 60, pair)
  } END AS bytes_out`;
}

/** Of an event's object: what is made has a new name, what is written has one of many, what is configured of a few. */
export function pathSql(random: Random): string {
  return `CASE topic
    WHEN 'file/create' THEN '/srv/app/' || ${
    random(40, 30, "n // 60")
  } || CASE WHEN in_thousand < 80
      THEN '/data/agent.db-' || in_thousand
      ELSE '/cache/gen/file/source/module-' || ${random(41, 1_700)} || ${
    hexSql(random(42, "4294967296"), 8)
  } || ${hexSql(random(43, 256), 2)} || '.tmp' END
    WHEN 'file/delete' THEN '/srv/app/' || ${
    random(40, 30, "n // 60")
  } || CASE WHEN in_thousand < 200
      THEN '/updates/000' || in_thousand % 8 ELSE '/made/temporary-' || ${
    hexSql(random(42, "1099511627776"), 10)
  } END
    WHEN 'file/write' THEN '/srv/app/' || (file_number // 1500) || '/data/cache/files/payloads/' || file_number || '.zst'
    WHEN 'file/rename' THEN ${renamedTo(random)}
    WHEN 'file/link' THEN '/srv/app/' || ${
    random(40, 30, "n // 60")
  } || '/repository/.git/objects/' || ${hexSql(random(42, "1099511627776"), 10)} || ${
    hexSql(random(43, "1099511627776"), 10)
  } || ${hexSql(random(44, 256), 2)}
    WHEN 'file/change' THEN '/srv/app/etc/' || ['web', 'app'][1 + file_number % 2] || '/site-' || file_number || '.conf'
    END`;
}

function renamedTo(random: Random): string {
  return `'/srv/app/' || ${random(40, 30, "first")} || '/data/cache/files/written/payloads/' || ${
    random(45, 1_000_000)
  } || '.ndjson.zst'`;
}

/** What a renamed file, or a third of the changed ones, was called before. */
export function renamedSql(random: Random): string {
  return `CASE WHEN topic = 'file/rename' THEN ${renamedTo(random)} || '.' || ${
    hexSql(random(46, 256), 2)
  } WHEN topic = 'file/change' AND in_thousand < 330 THEN '/srv/app/etc/' || ['web', 'app'][1 + file_number % 2] ||
    '/site-' || file_number || '.conf.tmp' || ${random(47, 10_000)} END`;
}

function hexSql(random: string, digits: number): string {
  return `printf('%0${digits}x', ${random})`;
}

const DURATION = `CASE WHEN duration < 600000 THEN duration % 3000 ELSE duration END`;

export function messageSql(): string {
  return `CASE topic
    WHEN 'process/exec' THEN user_text || ' ran ' || exe_text
    WHEN 'process/fork' THEN exe_text || ' forked process ' || ${pidSql("first", "beside")}
    WHEN 'process/exit' THEN exe_text || ' exited with code ' || (in_thousand // 900)
    WHEN 'process/setuid' THEN exe_text || ' changed its privileges by set' || ['resuid', 'resgid', 'reuid', 'regid', 'groups'][1 + n % 5]
    WHEN 'network/connect' THEN exe_text || ' connected to 127.0.0.1:' || known_port
    WHEN 'network/accept' THEN exe_text || ' accepted a connection from 127.0.0.1:' || peer_port || ' on port ' || known_port
    WHEN 'network/close' THEN CASE WHEN in_thousand < 160 THEN exe_text || ' no longer listens on 127.0.0.1:' || known_port
      ELSE exe_text || '''s connection with 127.0.0.1:' || peer_port || ' on port ' || known_port ||
      ' ended after ' || (${DURATION} // 1000) || ' ms: ' || bytes_in || ' bytes in, ' || bytes_out || ' bytes out' END
    WHEN 'network/listen' THEN exe_text || ' listens on 127.0.0.1:' || known_port
    WHEN 'file/rename' THEN exe_text || ' renamed ' || old_path_text || ' to ' || path_text
    WHEN 'file/delete' THEN exe_text || ' removed ' || path_text
    WHEN 'file/write' THEN exe_text || ' opened ' || path_text || ' for writing'
    WHEN 'file/link' THEN exe_text || ' made the link ' || path_text
    WHEN 'file/change' THEN exe_text || ' changed ' || path_text
    WHEN 'file/create' THEN exe_text || ' created ' || path_text
    WHEN 'service/start' THEN unit_name || ' was started'
    WHEN 'service/stop' THEN unit_name || ' was stopped'
    WHEN 'service/change' THEN unit_name || ' ran'
    WHEN 'auth/sudo' THEN user_text || ' used sudo to become ' || ['root', 'root', 'backup', 'www-data'][1 + place % 4]
    WHEN 'auth/su' THEN 'root used su to become ' || ['ann', 'bob', 'carol'][1 + place % 3]
    WHEN 'auth/login' THEN user_text || ' logged in from ' || peer || ' by ' || ['publickey', 'password'][1 + in_thousand % 2]
    WHEN 'auth/logout' THEN user_text || ' logged out from ' || peer
    WHEN 'auth/failure' THEN user_text || ' failed to log in from ' || peer || ' by password'
    ELSE 'paid' END`;
}

/** Lengths as recorded: 700 characters of an exec, 900 of a changed file with its diff, 130 of other files. */
export function detailSql(random: Random): string {
  const ancestor = (process: string, exe: string): string =>
    `'{"pid":' || ${pidSql(process, "0")} || ',"process_id":"' || ${
      processText(process, "0")
    } || '","exe":"${exe}"}'`;
  const ancestors = [
    `'{"pid":' || ${
      pidSql("parent_first", "parent_beside")
    } || ',"process_id":"' || parent_text || '","exe":"/usr/bin/dash"}'`,
    ancestor("(n // 900 * 900)", "/usr/bin/python3.11"),
    ancestor("(n // 3600 * 3600)", "/usr/bin/bash"),
    `'{"pid":1,"process_id":"' || boot || '-1-24","exe":"/sbin/init"}'`,
  ].join(` || ',' || `);
  const device = `,"device":"254:0"`;
  const generation = `,"generation":' || ${random(50, 4_000_000_000)} || '`;
  const line = (place: number, sign: string): string =>
    `'\\n${sign}option_' || ${random(60 + place, 40)} || ' = ' || ${random(80 + place, 60_000)}`;
  const kept = (place: number): string =>
    `'\\n option_' || ((file_number + ${place}) % 60) || ' = ' || ((file_number + ${place}) * 7919 % 100000)`;
  const inode = "2150000 + file_number";
  return `CASE topic
    WHEN 'process/exec' THEN '{"argv":["program-' || exe_number || '","--task","' || command_number ||
      '","-o","build/' || (command_number * 7) || '"],"argv_bytes":' || (20 + command_number % 80) ||
      ',"truncated":false,"env":{"PATH":"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},"ancestors":[' ||
      ${ancestors} || '],"sha256":"' || sha256(exe_number::VARCHAR) || '","inode":' || (260000 + exe_number) || '${device}}'
    WHEN 'process/exit' THEN '{"exit_code":' || (in_thousand // 900) || ',"duration_ms":' || (${DURATION} / 1000.0) || '}'
    WHEN 'process/setuid' THEN '{"how":"set' || ['resuid', 'resgid', 'reuid', 'regid', 'groups'][1 + n % 5] ||
      '","before":{"uid":' || (1000 + user_number) || ',"euid":' || (n % 3) || ',"fsuid":' || (n % 3) || ',"caps_effective":"0000000000000000"},"after":{"egid":0,"fsuid":0,"caps_effective":"000001fffeffffff"}}'
    WHEN 'file/change' THEN '{"how":"write","kind":"content-diff","type":"regular"${device},"inode":' ||
      (${inode}) || '${generation},"mode":"0100644","owner":"0:0","size":' || ${
    random(51, 2_000)
  } ||
      ',"links":1,"diff":"--- ' || path_text || '\\n+++ ' || path_text || '\\n@@ -' || ${
    random(52, 60)
  } || ',7 +' || ${random(53, 60)} || ',7 @@' ||
      ${kept(1)} || ${kept(2)} || ${kept(3)} || ${line(0, "-")} || ${line(1, "+")} || ${
    kept(5)
  } || ${kept(6)} || ${kept(7)} || CASE WHEN in_thousand % 2 = 0 THEN '\\n@@ -' || ${
    random(54, 60)
  } || ',7 +' || ${random(55, 60)} || ',7 @@' || ${kept(11)} || ${kept(12)} || ${line(2, "-")} || ${
    line(3, "+")
  } || ${kept(13)} || ${
    kept(14)
  } ELSE '' END || '","sha256_before":"' || sha256((n + 1)::VARCHAR) ||
      '","sha256_after":"' || sha256(n::VARCHAR) || '","ancestors":[' || ${
    ancestor("(n // 3600 * 3600)", "/usr/bin/bash")
  } || ']}'
    WHEN 'file/create' THEN '{"inode":' || (${inode}) || '${device}${generation},"mode":"0100' || ['644', '600'][1 + in_thousand % 2] ||
      '","size":0,"links":1,"flags":"' || ['O_RDWR', 'O_WRONLY'][1 + in_thousand % 2] || '","how":"open"}'
    WHEN 'file/delete' THEN '{"how":"unlink"${device},"inode":' || (${inode}) || '${generation}}'
    WHEN 'file/write' THEN '{"inode":' || (${inode}) || '${device},"generation":' || ${
    random(56, 4_000_000_000, "file_number")
  } || ',"mode":"0100644","size":' || ${
    random(57, 500, "file_number")
  } || ',"links":1,"flags":"O_RDWR","how":"write"}'
    WHEN 'file/rename' THEN '{"how":"rename","type":"regular"${device},"inode":' || (${inode}) ||
      '${generation},"mode":"0100644","size":' || ${random(58, 300)} || ',"links":1}'
    WHEN 'file/link' THEN '{"how":"link","type":"regular"${device},"inode":' || (${inode}) ||
      '${generation},"mode":"0100444","size":' || ${random(59, 2_000)} || ',"links":1}'
    WHEN 'network/connect' THEN '{"family":"inet","duration_ms":0.0' || (20 + ${
    random(39, 160)
  }) || '}'
    WHEN 'network/close' THEN '{"family":"inet","duration_ms":' || (${DURATION} / 1000.0) ||
      CASE WHEN in_thousand < 160 THEN ',"ends":"listen"}' ELSE
      ',"bytes_in":' || bytes_in || ',"bytes_out":' || bytes_out || ',"ends":"' || ['accept', 'connect'][1 + n % 2] || '"}' END
    WHEN 'network/accept' THEN '{"family":"inet"}'
    WHEN 'network/listen' THEN '{"family":"inet"}'
    WHEN 'service/start' THEN '{"source":"systemd","state":"active","old_state":"inactive","enabled":false,"sub_state":"running"}'
    WHEN 'service/stop' THEN '{"source":"systemd","state":"inactive","old_state":"active","enabled":false,"sub_state":"dead","noticed":true}'
    WHEN 'service/change' THEN '{"source":"systemd","state":"inactive","old_state":"inactive","enabled":false,"sub_state":"dead"}'
    WHEN 'auth/sudo' THEN '{"source":"auth.log","target":"' || ['root', 'root', 'backup', 'www-data'][1 + place % 4] || '"}'
    WHEN 'auth/su' THEN '{"source":"auth.log","target":"' || ['ann', 'bob', 'carol'][1 + place % 3] || '"}'
    WHEN 'auth/login' THEN '{"source":"auth.log","remote":"' || peer || '","method":"' || ['publickey', 'password'][1 + in_thousand % 2] || '"}'
    WHEN 'auth/logout' THEN '{"source":"auth.log","remote":"' || peer || '"}'
    WHEN 'auth/failure' THEN '{"source":"auth.log","remote":"' || peer || '","method":"password"}'
    WHEN 'process/fork' THEN NULL
    ELSE '{"claimed":["user"],"level":"info","service":"' || split_part(topic, '/', 2) || '","user":"' || user_text ||
      '","amount":' || (${random(70, 100_000)} / 100.0) || ',"order":' || ${
    random(71, 1_000_000_000)
  } || '}' END`;
}
