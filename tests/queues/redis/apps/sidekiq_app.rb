# A Sidekiq application: `sidekiq -r ./sidekiq_app.rb` runs it, `ruby sidekiq_app.rb ...` asks its API.
require "sidekiq"
require "sidekiq/api"
require "json"

options = {url: ENV.fetch("REDIS_URL")}
Sidekiq.configure_server { |config| config.redis = options }
Sidekiq.configure_client { |config| config.redis = options }

class Mail
  include Sidekiq::Worker
  sidekiq_options retry: 0

  def perform(action, *rest)
    raise "smtp refused #{rest.first}" if action == "fail"
    sleep 600 if action == "hang"
  end
end

def numbers
  queues = Sidekiq::Queue.all.to_h { |q| [q.name, {size: q.size, latency: q.latency}] }
  stats = Sidekiq::Stats.new
  {
    queues: queues, processes: Sidekiq::ProcessSet.new(false).size, running: Sidekiq::Workers.new.size,
    scheduled: stats.scheduled_size, retries: stats.retry_size, dead: stats.dead_size,
    processed: stats.processed, failed: stats.failed
  }
end

if $PROGRAM_NAME == __FILE__
  case ARGV.shift
  when "put"
    queue, action, count = ARGV
    count.to_i.times { |n| Mail.set(queue: queue).perform_async(action, n) }
  when "later" then Mail.set(queue: ARGV[0]).perform_in(3600, "ok")
  when "numbers" then puts JSON.dump(numbers)
  when "latency" then puts Sidekiq::Queue.new(ARGV[0]).latency
  when "first" then puts JSON.dump(Sidekiq::Queue.new(ARGV[0]).first.item)
  end
end
