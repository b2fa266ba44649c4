-- Begins a session. KEYS: session, its user's sessions, its user's cut.
-- ARGV: family, hash of the secret, data, user, when the application's token was issued (s), lifetime (ms),
-- how many sessions a user may have, prefix of sessions' keys.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local cut = redis.call('GET', KEYS[3])
if cut and tonumber(ARGV[5]) <= math.floor(tonumber(cut) / 1000) then
  return {'revoked'}
end
local lifetime = tonumber(ARGV[6])
local began, expires = string.format('%.0f', now), string.format('%.0f', now + lifetime)
redis.call('HSET', KEYS[1], 'hash', ARGV[2], 'data', ARGV[3], 'user', ARGV[4], 'began', began, 'rotated', began,
  'expires', expires)
redis.call('PEXPIREAT', KEYS[1], expires)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - lifetime))
redis.call('ZADD', KEYS[2], began, ARGV[1])
redis.call('PEXPIREAT', KEYS[2], expires)
local surplus = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[7])
if surplus > 0 then
  local oldest = redis.call('ZPOPMIN', KEYS[2], surplus)
  for i = 1, #oldest, 2 do
    redis.call('DEL', ARGV[8] .. oldest[i])
  end
end
return {'created', began, expires}
